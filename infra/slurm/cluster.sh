#!/usr/bin/env bash
# A throw-away Slurm on this machine: its keys, sockets, logs and state are in one folder.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: cluster.sh start --state FOLDER [--nodes N] [--port P]
       cluster.sh stop --state FOLDER

start  brings up munge, Slurm's controller and N nodes of one core (default: 1), all of them this
       machine, on the ports from P on (default: 26817), and prints the line that makes sbatch,
       squeue and scancel speak to it
stop   ends all of it, with the jobs

Needs root, and Debian's packages slurm-wlm and munge (infra/tools.sh slurm installs them).
TEXT
  exit 2
}

fail() {
  echo "$1" >&2
  exit 1
}

(($# >= 1)) || usage
command=$1 state='' nodes=1 port=26817
shift
while (($#)); do
  case $1 in
    --state) state=${2:?} ;;
    --nodes) nodes=${2:?} ;;
    --port) port=${2:?} ;;
    *) usage ;;
  esac
  shift 2
done
[[ -n $state ]] || usage
PATH=$PATH:/usr/sbin

configuration() {
  local host
  host=$(hostname -s)
  cat <<CONF
ClusterName=throwaway
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
# A requeued job waits until the credentials of its last start have expired: 120 s by default.
AuthInfo=socket=$state/munge/socket,cred_expire=5
StateSaveLocation=$state/state
SlurmdSpoolDir=$state/spool/%n
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd-%n.pid
SlurmctldLogFile=$state/log/slurmctld
SlurmdLogFile=$state/log/slurmd-%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# Nodes that are one machine see each other's processes; no core is bound to a job.
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
FirstJobId=$((port % 1000 + 1))
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
NodeName=node[0-$((nodes - 1))] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

daemons() { # pids of those that run
  local file pid
  for file in "$state"/slurmctld.pid "$state"/slurmd-*.pid "$state"/munge/pid; do
    if [[ -e $file ]] && pid=$(<"$file") && kill -0 "$pid" 2>/dev/null; then echo "$pid"; fi
  done
}

start() {
  local tool
  for tool in munged slurmctld slurmd sbatch; do
    command -v "$tool" >/dev/null || fail "there is no $tool here: install slurm-wlm and munge"
  done
  (($(id -u) == 0)) || fail "a throw-away Slurm needs root"
  mkdir -p "$state"
  state=$(cd "$state" && pwd)
  [[ -z $(daemons) ]] || fail "a Slurm runs in $state already"
  # The path of a socket has at most 107 bytes.
  ((${#state} < 90)) || fail "the name of the folder is too long for a socket: $state"
  mkdir -p "$state"/{munge,state,spool,log}
  local number
  for ((number = 0; number < nodes; number++)); do mkdir -p "$state/spool/node$number"; done
  chmod 700 "$state/munge"
  (umask 277 && head --bytes 1024 /dev/urandom >"$state/munge/key")
  # Forced: munge wants folders above its socket that all users may enter; here root alone comes.
  munged --force --key-file "$state/munge/key" --socket "$state/munge/socket" \
    --pid-file "$state/munge/pid" --seed-file "$state/munge/seed" \
    --log-file "$state/log/munged" 2>"$state/log/munged-start"
  configuration >"$state/slurm.conf"
  export SLURM_CONF=$state/slurm.conf
  slurmctld 2>>"$state/log/slurmctld"
  for ((number = 0; number < nodes; number++)); do
    slurmd -N "node$number" 2>>"$state/log/slurmd-node$number"
  done
  for ((number = 0; number < 200; number++)); do
    if (($(timeout 5 sinfo --noheader --Node --states idle 2>/dev/null | wc -l) == nodes)); then
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.1
  done
  tail --lines 5 "$state"/log/* >&2
  stop
  fail "Slurm's nodes did not become idle"
}

stop() {
  [[ -e $state/slurm.conf ]] || return 0
  export SLURM_CONF=$state/slurm.conf
  timeout 10 scancel --full --signal KILL --user "$(id -un)" 2>/dev/null || true
  local pids number
  mapfile -t pids < <(daemons) # they remove these files before they end
  ((${#pids[@]})) || return 0
  kill "${pids[@]}" 2>/dev/null || true
  for ((number = 0; number < 100; number++)); do
    kill -0 "${pids[@]}" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "${pids[@]}" 2>/dev/null || true
}

case $command in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac
