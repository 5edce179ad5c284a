#!/usr/bin/env bash
# Copies the parts of Beam's job server for a cluster, and of the cluster, from Maven Central, once:
#   parts.sh spark   262 jars, 299 MB
#   parts.sh flink   162 jars, 152 MB
# Where to: $SEPTET_SPARK_PARTS or $SEPTET_FLINK_PARTS, by default .cache/NAME-parts in this checkout.
set -euo pipefail

infra=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:-}
[[ $name == spark || $name == flink ]] || {
  echo "usage: parts.sh spark|flink" >&2
  exit 2
}
pom=$infra/$name/pom.xml
given=SEPTET_${name^^}_PARTS
parts=${!given:-$(cd "$infra/.." && pwd)/.cache/$name-parts}
# A changed pom is a new set of parts.
want=$(sha256sum <"$pom" | cut -d' ' -f1)

if [[ -f $parts/complete && $(<"$parts/complete") == "$want" ]]; then
  echo "$parts"
  exit 0
fi
for tool in java mvn; do
  command -v "$tool" >/dev/null || {
    echo "$tool is not on PATH: install Java 17 and Maven 3.8 or newer" >&2
    exit 2
  }
done
rm -rf "$parts"
mkdir -p "$parts/logs"
echo "copying the parts of $name to $parts" >&2
mvn -q -B -Dstyle.color=never -f "$pom" dependency:copy-dependencies \
  -DoutputDirectory="$parts/jars" -DincludeScope=runtime >"$parts/logs/maven.log" 2>&1 || {
  tail -n 20 "$parts/logs/maven.log" >&2
  exit 1
}
echo "$want" >"$parts/complete"
echo "$parts"
