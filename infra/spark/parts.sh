#!/usr/bin/env bash
# Copies the parts of Beam's Spark job server (262 jars, 299 MB) from Maven Central, once.
# Where to: $SEPTET_SPARK_PARTS, by default .cache/spark-parts in this checkout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
parts=${SEPTET_SPARK_PARTS:-$(cd "$here/../.." && pwd)/.cache/spark-parts}
# A changed pom is a new set of parts.
want=$(sha256sum <"$here/pom.xml" | cut -d' ' -f1)

if [[ -f $parts/complete && $(<"$parts/complete") == "$want" ]]; then
  echo "$parts"
  exit 0
fi
for tool in java mvn; do
  command -v "$tool" >/dev/null || {
    echo "$tool is not on PATH: install a Java 17 runtime and Maven 3.8 or newer" >&2
    exit 2
  }
done
rm -rf "$parts"
mkdir -p "$parts/logs"
echo "copying Spark parts to $parts (299 MB)" >&2
mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies \
  -DoutputDirectory="$parts/jars" -DincludeScope=runtime >"$parts/logs/maven.log" 2>&1 || {
  tail -n 20 "$parts/logs/maven.log" >&2
  exit 1
}
echo "$want" >"$parts/complete"
echo "$parts"
