#!/usr/bin/env bash
# Checks that modules import downward only, that foreign types stay in their layer, and that the
# product has no second HTTP stack. Prints every violation; exits 1 if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

# A layer and what it may import of ours, besides itself. Unit tests (tests.rs, tests/) are free.
declare -A may_import=(
    [metrics]=""
    [crt]="turn"
    [s3]="crt metrics"
    [index]="crt s3"
    [cache]="crt s3 memory metrics"
    [memory]=""
    [shared_cache]="cache crt s3 memory metrics"
    [read]="s3 memory"
    [prefetch]="s3 memory read"
    [write]="crt s3 memory"
    [tree]="metrics s3 index"
    [stage]="s3 memory read write"
    [fs]="metrics s3 cache memory read prefetch write stage tree"
    [telemetry]="metrics crt"
    [fuse]="metrics fs turn"
    [cli]="metrics crt s3 cache shared_cache index memory read prefetch write stage tree fs fuse telemetry"
)
# A foreign crate and the only files that may name it.
declare -A only_in=(
    [crt_sys]='src/crt/'
    [fuser]='src/fuse/'
    [clap]='src/cli/args'
    [quick_xml]='src/s3/'
    [csv]='src/index/'
    [flate2]='src/index/'
    [parquet]='src/index/'
    [indicatif]='src/cli/progress'
    [httparse]='src/telemetry/listener'
    [crossterm]='src/cli/top/screen'
    [prost]='src/telemetry/otlp/'
)
failures=0
fail() {
    echo "$1" >&2
    failures=$((failures + 1))
}

for directory in src/*/; do
    layer=$(basename "$directory")
    [ "$layer" = bin ] && continue
    [ -n "${may_import[$layer]+set}" ] || { fail "src/$layer: not in the list of layers of $0"; continue; }
    # `wait` is there in unit tests alone, some of which are at the end of a file.
    allowed=" $layer ${may_import[$layer]} wait "
    while IFS=: read -r file line imported; do
        [[ $allowed == *" $imported "* ]] || fail "$file:$line: layer '$layer' must not import '$imported'"
    done < <(grep -rnoE --include='*.rs' --exclude=tests.rs --exclude-dir=tests '\bcrate::[a-z0-9_]+' "$directory" | sed 's/crate:://')
done

for crate in "${!only_in[@]}"; do
    while IFS=: read -r file line _; do
        [[ $file == ${only_in[$crate]}* ]] || fail "$file:$line: only ${only_in[$crate]}* may name '$crate'"
    done < <(grep -rnE --include='*.rs' "^[^/\"]*\b$crate::" src)
done

while IFS=: read -r file line _; do
    fail "$file:$line: 'unsafe' is allowed in crt-sys and src/crt only"
done < <(grep -rnE --include='*.rs' '^[^/"]*\bunsafe (\{|fn|impl|trait|extern)' src tests --exclude-dir=crt --exclude-dir=target || true)

while IFS=: read -r file line _; do
    fail "$file:$line: errno is chosen in src/fs/errno.rs only"
done < <(grep -rnE --include='*.rs' --exclude=tests.rs --exclude-dir=tests '^[^/"]*\blibc::E[A-Z]+\b' src --exclude-dir=crt |
    # The errno of mount(2) is read there; none is answered.
    grep -vE '^src/(fs/errno|fuse/error)\.rs' || true)

while IFS=: read -r file line _; do
    fail "$file:$line: the environment is read in src/cli/config.rs only"
done < <(grep -rnE --include='*.rs' '^[^/"]*\benv::(var|var_os|vars)\b' src | grep -vE '^src/cli/(config|daemon)' || true)

if cargo tree --quiet --locked -p mount-s3 -e normal --prefix none | grep -E '^(hyper|reqwest|ureq|isahc|curl|attohttpc|rusoto|aws-sdk)[a-z0-9_-]* v'; then
    fail "the product must not depend on an HTTP or S3 client besides the CRT"
fi

[ $failures -eq 0 ] && echo "layers: ok" || exit 1
