#!/usr/bin/env bash
# Runs Ceph RGW, an S3 store, with the least cluster that it works on: one monitor and one OSD that
# keeps all in memory. Everything listens on loopback.
#
# usage: rgw.sh DIRECTORY MONITOR-PORT S3-PORT ACCESS-KEY SECRET-KEY
#
# Makes DIRECTORY, prints "ready" when S3 answers, and runs until its standard input ends, however the
# process at the other end of that does: then it ends what it has started, and removes DIRECTORY.
# When it fails, it leaves DIRECTORY, whose logs say why.
set -euo pipefail
[ $# -eq 5 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
directory=$1 monitor_port=$2 s3_port=$3 access_key=$4 secret_key=$5
PATH=$PATH:/usr/sbin:/sbin

processes=()
end_all() {
    # By number: others of their name may run.
    [ ${#processes[@]} -eq 0 ] || { kill -9 "${processes[@]}" && wait; } 2>/dev/null || true
}
trap end_all EXIT

mkdir -p "$directory/osd"
cluster=$(cat /proc/sys/kernel/random/uuid)
osd=$(cat /proc/sys/kernel/random/uuid)
export CEPH_CONF=$directory/ceph.conf
# The frontend delays small answers by 40 ms without tcp_nodelay. The two settings of Paxos, and pools of
# one placement group, make the start take 3 s instead of 13.
cat >"$CEPH_CONF" <<END
[global]
fsid = $cluster
mon host = [v1:127.0.0.1:$monitor_port]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
run dir = $directory
admin socket =
log file = $directory/\$name.log
mon data = $directory/mon
osd data = $directory/osd
osd objectstore = memstore
memstore device bytes = 8G
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
mon data avail warn = 1
mon data avail crit = 0
paxos propose interval = 0.05
paxos min wait = 0.01
rgw frontends = beast endpoint=127.0.0.1:$s3_port tcp_nodelay=1
END

# Neither may hold the script's standard input.
start() {
    local name=$1
    shift
    "$@" </dev/null >"$directory/$name.out" 2>&1 &
    processes+=($!)
}
run() {
    local name=$1
    shift
    timeout 120 "$@" </dev/null >"$directory/$name.out" 2>&1
}

run monmap monmaptool --create --fsid "$cluster" --addv a "[v1:127.0.0.1:$monitor_port]" "$directory/monmap"
run mon-mkfs ceph-mon --mkfs -i a --monmap "$directory/monmap"
start mon ceph-mon -f -i a
run osd-new ceph osd new "$osd"
# A store in memory makes up an id of its own otherwise, which the monitor refuses.
echo "$osd" >"$directory/osd/fs_fsid"
run osd-mkfs ceph-osd -i 0 --mkfs --osd-uuid "$osd"
# By itself an OSD tells where it is as it starts, before it can know which cluster it belongs to.
run osd-place ceph osd crush add osd.0 1 root=default
start osd ceph-osd -f -i 0
run user radosgw-admin user create --uid tests --display-name tests --max-buckets 0 \
    --access-key "$access_key" --secret "$secret_key"
start rgw radosgw -f -n client.rgw
until curl --silent --output /dev/null "http://127.0.0.1:$s3_port/"; do
    # One at a time: of many, kill is content with one that is there.
    for process in "${processes[@]}"; do
        kill -0 "$process"
    done
    sleep 0.1
done
echo ready
cat >/dev/null
end_all
processes=()
rm -rf "$directory"
