"""Stores and mounts, for the scripts that test the command: started, asked, ended."""

import json
import mmap
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from shutil import rmtree

MIB = 1 << 20

# How long, in seconds, what must happen may take on a machine that stands still for a while.
LONG = 120

ACCESS_KEY, SECRET_KEY = "test", "test"


class Wrong(Exception):
    """Something is not as it must be."""


class Server:
    """The local S3 server, with one bucket."""

    name = "local server"

    def __init__(self, directory: str, bucket: str, *arguments: str) -> None:
        command = [f"{directory}/s3-test-server", "--bucket", bucket, "--watch-stdin", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            raise Wrong(f"{command[0]} did not start")
        places = json.loads(line)
        self.endpoint = f"http://{places['addr']}"
        self.control = f"http://{places['control']}"

    def call(self, method: str, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data, method=method)
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            return json.load(answer)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(LONG)


class SeaweedFs:
    """SeaweedFS, without a bucket. It ends with this process, however that ends: the shell that
    starts it waits for a pipe whose other end only this process holds."""

    name = "SeaweedFS"

    def __init__(self, program: str) -> None:
        self.data = tempfile.mkdtemp(prefix="seaweedfs-")
        with open(f"{self.data}/s3.json", "w", encoding="ascii") as file:
            key = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
            json.dump({"identities": [{"name": "tests", "credentials": [key], "actions": ["Admin"]}]}, file)
        s3, master, volume, filer, admin = free_ports(5)
        self.endpoint = f"http://127.0.0.1:{s3}"
        script = '"$0" "$@" <&- & store=$!; cat >/dev/null; kill -9 $store; wait $store'
        command = ["sh", "-c", script, program, "mini", f"-dir={self.data}", f"-s3.config={self.data}/s3.json"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-admin.ui=false"]
        # By itself it has as many volumes as fill the disk: none when little of that is free.
        command += ["-volume.max=10000", "-master.volumeSizeLimitMB=64"]
        command += ["-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port={s3}"]
        command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
        command += [f"-admin.port={admin}"]
        with open(f"{self.data}/log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self._wait()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(LONG)
        rmtree(self.data)

    def _wait(self) -> None:
        deadline = time.monotonic() + LONG
        while True:
            try:
                urllib.request.urlopen(self.endpoint, timeout=5).close()
                return
            except urllib.error.HTTPError:
                # It answers: who is not known is refused.
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise Wrong(f"SeaweedFS does not answer; its log is {self.data}/log") from None
                time.sleep(0.1)


class Rgw:
    """Ceph RGW, without a bucket. It ends with this process, however that ends."""

    name = "Ceph RGW"

    def __init__(self, script: str) -> None:
        self.data = tempfile.mkdtemp(prefix="rgw-")
        monitor, s3 = free_ports(2)
        self.endpoint = f"http://127.0.0.1:{s3}"
        command = [script, self.data, str(monitor), str(s3), ACCESS_KEY, SECRET_KEY]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise Wrong(f"RGW did not start; its logs are in {self.data}")

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(LONG)


class Mount:
    """The daemon, in the foreground. `arguments` are those beside bucket, directory and endpoint."""

    def __init__(self, binary: str, bucket: str, endpoint: str, work_directory: str, arguments: list[str]) -> None:
        self.directory, self.log_path = f"{work_directory}/mnt", f"{work_directory}/log"
        os.makedirs(self.directory)
        command = [
            binary, bucket, self.directory, "--endpoint-url", endpoint, "--force-path-style",
            "--region", "us-east-1", "--foreground", *arguments,
        ]
        environment = dict(os.environ, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY,
                           AWS_EC2_METADATA_DISABLED="true")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
        if b"is mounted at" not in self.process.stdout.readline():
            raise Wrong(f"the mount could not be made: {self.log()}")

    def alive(self) -> bool:
        return self.process.poll() is None

    def rss_mib(self) -> int:
        """Resident memory; 0 once the daemon has ended."""
        try:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * mmap.PAGESIZE // MIB
        except (OSError, IndexError):
            return 0

    def log(self, lines: int = 15) -> str:
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def unmount(self) -> None:
        done = subprocess.run(["umount", self.directory], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Wrong(f"unmounting failed: {done.stderr.strip()}")
        try:
            status = self.process.wait(LONG)
        except subprocess.TimeoutExpired:
            raise Wrong(f"the daemon does not end within {LONG} s of the unmount") from None
        if status != 0:
            raise Wrong(f"the daemon ended with status {status}")

    def destroy(self) -> None:
        """Leaves nothing behind, whatever state it is in."""
        if self.alive():
            subprocess.run(["umount", "-l", self.directory], capture_output=True, check=False)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if os.path.ismount(self.directory):
            subprocess.run(["umount", "-l", self.directory], capture_output=True, check=False)


def free_ports(count: int) -> list[int]:
    """Free ports, each with the port 10,000 above it free as well, which SeaweedFS takes for its own
    protocol."""
    held: list[socket.socket] = []
    ports: list[int] = []
    while len(ports) < count:
        held.append(socket.create_server(("127.0.0.1", 0)))
        port = held[-1].getsockname()[1]
        if port + 10_000 < 1 << 16:
            try:
                held.append(socket.create_server(("127.0.0.1", port + 10_000)))
            except OSError:
                continue
            ports.append(port)
    for one in held:
        one.close()
    return ports
