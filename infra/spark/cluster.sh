#!/usr/bin/env bash
# A Spark cluster on this machine: standalone master and worker, Beam's job server, and the pool
# that starts Python workers.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: cluster.sh start|stop|status [--state DIR] [--cores N] [--memory SIZE] [--port BASE]
                                    [--conf KEY=VALUE]…

  --state DIR    pid files and logs (default: .cache/spark-cluster in this checkout)
  --cores N      executors, with one core and one Python worker each (default: 2)
  --memory SIZE  memory of each executor's JVM, as 1g (default: 1g)
  --port BASE    first of six free ports: master, its web page, job server, its artifact
                 service, Python worker pool, worker's web page (default: 7077)
  --conf KEY=VALUE  a Spark setting, as spark.default.parallelism=16 (default: 4 times the cores)

The parts come from ../parts.sh. PYTHON is the interpreter that has Septet (default: python).
TEXT
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
state=$checkout/.cache/spark-cluster
cores=2 memory=1g base=7077
source "$here/../members.sh"
read_flags "$@"
parts=${SEPTET_SPARK_PARTS:-$checkout/.cache/spark-parts}
[[ -d $parts ]] && parts=$(cd -P "$parts" && pwd) # class paths are compared by their letters
python=${PYTHON:-python}
members=(pool jobserver worker master)

# Classes as Java has them in memory once loaded, from which all JVMs of later clusters start in less
# than half the CPU time. The first job server writes them when it ends. They are of one Java.
classes=$parts/classes-$({ java -version 2>&1 || true; } | cksum | cut -d' ' -f1).jsa
class_path="$parts/conf:$parts/jars/*" # as Spark has it for executors
patience=300

keep_classes() {
  [[ -f $state/classes.jsa ]] || return 0
  # One that was not written to its end is refused.
  java -Xshare:on "-XX:SharedArchiveFile=$state/classes.jsa" -cp "$class_path" -version \
    >"$state/classes.log" 2>&1 && mv "$state/classes.jsa" "$classes"
  rm -f "$state/classes.jsa"
}

worker_registered() { [[ $(answer $((base + 1)) /json/) == *'"aliveworkers" : 1'* ]]; }

start() {
  check_start "$parts" "$base" 6
  mkdir -p "$state/work" "$state/tmp"
  state=$(cd "$state" && pwd)
  # Spark looks for the jars of executors below SPARK_HOME.
  export SPARK_HOME=$parts SPARK_LOCAL_IP=127.0.0.1 SPARK_SCALA_VERSION=2.12
  export SPARK_LOCAL_DIRS=$state/tmp PYTHONPATH=$checkout${PYTHONPATH:+:$PYTHONPATH}
  # Executors live for one stage, too short for the second compiler to earn back its CPU time.
  local brief="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
  local writes=()
  if [[ -f $classes && $classes != *" "* ]]; then # Spark cuts an executor's options at blanks
    brief+=" -XX:SharedArchiveFile=$classes"
  elif [[ ! -f $classes ]]; then
    writes=("-XX:ArchiveClassesAtExit=$state/classes.jsa")
  fi
  # shellcheck disable=SC2206
  local java=(java $brief "-Djava.io.tmpdir=$state/tmp" -cp "$class_path")
  local opens
  for opens in sun.nio.ch java.nio java.net java.util java.util.concurrent java.lang \
    java.lang.invoke java.lang.reflect java.io sun.security.action; do
    java+=("--add-opens=java.base/$opens=ALL-UNNAMED")
  done

  launch master "${java[@]}" -Xmx512m org.apache.spark.deploy.master.Master \
    --host 127.0.0.1 --port "$base" --webui-port "$((base + 1))"
  # The pool imports Beam meanwhile.
  launch pool "$python" -m septet.pipelines.runners.pool --port "$((base + 4))"
  await master port_open "$base"
  launch worker "${java[@]}" -Xmx512m org.apache.spark.deploy.worker.Worker \
    --host 127.0.0.1 --webui-port "$((base + 5))" --cores "$cores" --memory 1024g \
    -d "$state/work" "spark://127.0.0.1:$base"
  # Beam would end its Spark application, and with it the executors, after each pipeline, of which
  # a build has eleven or more; this keeps them until the job server ends.
  # One core an executor: an executor that has several goes on sending bundles to a Python worker
  # that has died for as long as one of its others is busy.
  # On one machine no block is far, so that no task waits for the executor that holds it.
  launch jobserver "${java[@]}" "${writes[@]}" -Xmx1g \
    -Dbeam.spark.test.reuseSparkContext=true -Dspark.driver.host=127.0.0.1 \
    -Dspark.ui.enabled=false \
    "-Dspark.executor.extraJavaOptions=$brief" \
    "-Dspark.executor.memory=$memory" -Dspark.executor.cores=1 \
    "-Dspark.default.parallelism=$((4 * cores))" -Dspark.task.maxFailures=8 \
    -Dspark.stage.maxConsecutiveAttempts=8 -Dspark.locality.wait=0s \
    "${settings[@]/#/-D}" \
    org.apache.beam.runners.spark.SparkJobServerDriver --job-host 127.0.0.1 \
    --job-port "$((base + 2))" --artifact-port "$((base + 3))" --expansion-port -1 \
    --artifacts-dir "$state/tmp/artifacts" --spark-master-url "spark://127.0.0.1:$base"
  await worker worker_registered
  await jobserver port_open "$((base + 2))"
  await pool port_open "$((base + 4))"
  tell_addresses
}

case $action in
  start | status) "$action" ;;
  stop) stop && keep_classes ;;
  *) usage ;;
esac
