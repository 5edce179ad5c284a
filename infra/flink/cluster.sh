#!/usr/bin/env bash
# A Flink session cluster on this machine: job manager and task managers, Beam's job server, and the
# pool that starts Python workers.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: cluster.sh start|stop|status [--state DIR] [--cores N] [--memory SIZE] [--port BASE]
                                    [--conf KEY=VALUE]…

  --state DIR    pid files and logs (default: .cache/flink-cluster in this checkout)
  --cores N      task managers, with one slot and one Python worker each (default: 2)
  --memory SIZE  heap of each task manager's JVM for tasks, as 384m (default: 384m)
  --port BASE    first of five free ports: job manager, its web page, job server, its artifact
                 service, Python worker pool (default: 6123)
  --conf KEY=VALUE  a Flink setting, as taskmanager.memory.managed.size=512m

The parts come from ../parts.sh. PYTHON is the interpreter that has Septet (default: python).
TEXT
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
state=$checkout/.cache/flink-cluster
cores=2 memory=384m base=6123
source "$here/../members.sh"
read_flags "$@"
parts=${SEPTET_FLINK_PARTS:-$checkout/.cache/flink-parts}
python=${PYTHON:-python}
managers=() # those to start, or that were started, however many are asked for now
if [[ $action == start ]]; then
  for number in $(seq "$cores"); do managers+=("taskmanager-$number"); done
else
  for file in "$state"/taskmanager-*.pid; do
    [[ -f $file ]] && managers+=("$(basename "$file" .pid)")
  done
fi
members=(pool jobserver "${managers[@]}" jobmanager)

all_registered() { [[ $(answer $((base + 1)) /overview) == *"\"taskmanagers\":$cores,"* ]]; }

configure() { # of all processes; a JVM that no script of Flink starts is told every size
  cat <<TEXT
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: $base
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: $((base + 1))
parallelism.default: $cores
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: 1
taskmanager.cpu.cores: 1
taskmanager.memory.task.heap.size: $memory
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.managed.size: 256m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
classloader.resolve-order: parent-first
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 8
restart-strategy.fixed-delay.delay: 1s
io.tmp.dirs: $state/tmp
TEXT
  local setting
  for setting in "${settings[@]}"; do echo "${setting%%=*}: ${setting#*=}"; done
}

start() {
  check_start "$parts" "$base" 5
  mkdir -p "$state/conf" "$state/tmp"
  state=$(cd "$state" && pwd)
  # The last of a setting's values counts; YAML has no key twice.
  configure | awk -F': ' '{ line[$1] = $0 } END { for (key in line) print line[key] }' \
    >"$state/conf/config.yaml"
  export FLINK_CONF_DIR=$state/conf PYTHONPATH=$checkout${PYTHONPATH:+:$PYTHONPATH}
  # A trial's jobs are too short for the second compiler to earn back its CPU time.
  local java=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Djava.io.tmpdir=$state/tmp"
    -Dorg.slf4j.simpleLogger.showDateTime=true
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS" -cp "$parts/jars/*")
  local opens manager
  for opens in sun.nio.ch java.nio java.net java.util java.util.concurrent \
    java.util.concurrent.atomic java.lang java.lang.invoke java.lang.reflect java.io java.text \
    java.time sun.net.util; do
    java+=("--add-opens=java.base/$opens=ALL-UNNAMED")
  done

  launch jobmanager "${java[@]}" -Xmx512m \
    org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint \
    --configDir "$FLINK_CONF_DIR"
  # The pool imports Beam meanwhile.
  launch pool "$python" -m septet.pipelines.runners.pool --port "$((base + 4))"
  await jobmanager port_open "$base"
  for manager in "${managers[@]}"; do
    launch "$manager" "${java[@]}" -Xmx768m \
      org.apache.flink.runtime.taskexecutor.TaskManagerRunner --configDir "$FLINK_CONF_DIR" \
      -D "taskmanager.resource-id=$manager"
  done
  launch jobserver "${java[@]}" -Xmx1g "$here/JobServer.java" --job-host 127.0.0.1 \
    --job-port "$((base + 2))" --artifact-port "$((base + 3))" --expansion-port -1 \
    --artifacts-dir "$state/tmp/artifacts" --flink-master "127.0.0.1:$((base + 1))"
  await taskmanager-1 all_registered
  await jobserver port_open "$((base + 2))"
  await pool port_open "$((base + 4))"
  tell_addresses
}

case $action in
  start | stop | status) "$action" ;;
  *) usage ;;
esac
