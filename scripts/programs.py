#!/usr/bin/env python3
"""Runs real programs on real mounts, and looks at what they wrote from the other side.

usage: programs.py [--cases PATTERN,..] [--stores local,seaweedfs,rgw] [--bin DIRECTORY]

Mounts a bucket of the local S3 server, of SeaweedFS and of Ceph RGW with --allow-overwrite and
--allow-delete; then, so that files can be renamed, the server's as a directory bucket, and all with
--allow-rename; then all with --write-mode staged. Runs the cases of programs_cases.py,
programs_writers.py and programs_staged.py on the mounts that they are for. After each case the bucket
must hold exactly the objects that the case says, byte for byte, as another client of S3 (boto3) sees
them and as the mount shows them, and no upload that was not completed.

Exits 0 if all of that held, else 1 with the reasons. Run it with target/tools/bin/python3, which has
the modules that it needs.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from fnmatch import fnmatch
from shutil import rmtree

import boto3
from botocore.config import Config

import programs_cases
import programs_staged
import programs_writers
from mounts import ACCESS_KEY, LONG, SECRET_KEY, Mount, Rgw, SeaweedFs, Server, Wrong
from programs_place import PLAIN, RENAMES, STAGED, Place

BUCKET = "programs"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Bucket:
    """The bucket, seen by another client."""

    def __init__(self, endpoint: str) -> None:
        self.s3 = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )  # fmt: skip
        if BUCKET not in {bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]}:
            self.s3.create_bucket(Bucket=BUCKET)

    def keys(self) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return sorted(one["Key"] for page in pages for one in page.get("Contents", []))

    def uploads(self) -> list[str]:
        answer = self.s3.list_multipart_uploads(Bucket=BUCKET)
        return sorted(one["Key"] for one in answer.get("Uploads", []))

    def digest(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()

    def empty(self) -> None:
        for key in self.keys():
            self.s3.delete_object(Bucket=BUCKET, Key=key)
        for one in self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            self.s3.abort_multipart_upload(Bucket=BUCKET, Key=one["Key"], UploadId=one["UploadId"])


def check(bucket: Bucket, mount: Mount, place: Place) -> None:
    """The bucket must hold what the case says, and the mount must show it."""
    expected = {f"{place.name}/{name}": digest for name, digest in place.expected.items()}
    # The store lags behind the last close: what ends an upload, or stores an empty file, is sent after
    # close has returned.
    deadline = time.monotonic() + LONG
    while (found := (bucket.keys(), bucket.uploads())) != (sorted(expected), []):
        if time.monotonic() > deadline:
            keys, uploads = set(found[0]), found[1]
            raise Wrong(f"missing: {sorted(set(expected) - keys)}, stray: {sorted(keys - set(expected))}, "
                        f"uploads not completed: {uploads}")
        time.sleep(0.02)
    shown = {}
    for directory, _, names in os.walk(mount.directory):
        for name in names:
            path = os.path.join(directory, name)
            shown[os.path.relpath(path, mount.directory)] = path
    if sorted(shown) != sorted(expected):
        raise Wrong(f"the mount shows {sorted(shown)} instead of {sorted(expected)}")
    for key, digest in expected.items():
        if bucket.digest(key) != digest:
            raise Wrong(f"{key} has other bytes in the bucket")
        with open(shown[key], "rb") as file:
            if hashlib.sha256(file.read()).hexdigest() != digest:
                raise Wrong(f"{key} has other bytes on the mount")


def run_cases(where: str, way: str, bucket: Bucket, mount: Mount, cases: list, problems: list[str]) -> None:
    """Runs each case in a directory of its own, also among the ways to mount: SeaweedFS keeps
    directories that were emptied."""
    for case in cases:
        started = time.monotonic()
        name = f"{case.name} on {where}"
        with tempfile.TemporaryDirectory(prefix="programs-") as scratch:
            place = Place(f"{way}-{case.name}", mount.directory, scratch)
            try:
                case.run(place)
                check(bucket, mount, place)
            # Whatever goes wrong in a case is its result.
            except Exception as error:
                problems.append(f"{name}: {type(error).__name__}: {error}")
                print(f"WRONG  {problems[-1]}", flush=True)
                if not mount.alive():
                    raise Wrong(f"the daemon has ended: {mount.log()}") from error
        bucket.empty()
        print(f"{time.monotonic() - started:6.2f} s  {name}", flush=True)


def run(options: argparse.Namespace, work: str) -> list[str]:
    """Every case on every store. The problems found."""
    problems: list[str] = []
    binary = f"{options.bin}/mount-s3"
    cases = [*programs_cases.CASES, *programs_writers.CASES, *programs_staged.CASES]
    cases = [case for case in cases if any(fnmatch(case.name, one) for one in options.cases.split(","))]
    makers = {
        "local": lambda: Server(options.bin, BUCKET, "--directory"),
        "seaweedfs": lambda: SeaweedFs(f"{ROOT}/target/tools/bin/weed"),
        "rgw": lambda: Rgw(f"{ROOT}/scripts/rgw.sh"),
    }
    for choice in options.stores.split(","):
        store = makers[choice]()
        try:
            bucket = Bucket(store.endpoint)
            for way, kind, arguments in ways_to_mount(choice, work):
                chosen = [case for case in cases if kind in case.ways]
                arguments = ["--allow-overwrite", "--allow-delete", *arguments]
                mount = Mount(binary, BUCKET, store.endpoint, f"{work}/{choice}-{way}", arguments)
                try:
                    run_cases(f"{store.name}, {way}", way, bucket, mount, chosen, problems)
                    mount.unmount()
                finally:
                    mount.destroy()
        finally:
            store.end()
    return problems


def ways_to_mount(store: str, work: str) -> list[tuple[str, str, list[str]]]:
    """Names, kinds and arguments."""
    ways = [("plain", PLAIN, [])]
    if store == "local":
        ways.append(("directory", RENAMES, ["--bucket-type", "directory"]))
    ways.append(("renames", RENAMES, ["--allow-rename"]))
    staged = ["--write-mode", "staged", "--stage", f"{work}/{store}-stage"]
    ways.append(("staged", STAGED, ["--allow-rename", *staged]))
    return ways


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="*", help="names or patterns, with commas between [all]")
    parser.add_argument("--stores", default="local,seaweedfs,rgw", help="with commas between [all]")
    parser.add_argument("--bin", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "debug"),
                        help="directory of mount-s3 and s3-test-server")
    options = parser.parse_args()
    started = time.monotonic()
    work = tempfile.mkdtemp(prefix="programs-")
    try:
        problems = run(options, work)
    except (Wrong, OSError) as error:
        problems = [str(error)]
    if problems:
        print(f"{len(problems)} problems; the daemons' logs are under {work}", file=sys.stderr)
        for problem in problems:
            print(f"WRONG  {problem}", file=sys.stderr)
        return 1
    rmtree(work)
    print(f"Every program did as it must; {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
