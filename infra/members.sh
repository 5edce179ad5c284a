# The processes of a cluster on this machine, for the scripts that start one: they set defaults of
# the flags and `members`, the names in the order in which they are stopped; `patience` is how often,
# every 0.2 s, it is looked whether one that was asked to has ended (50).

read_flags() { # action flags…: into action, state, cores, memory, base and settings (KEY=VALUE)
  settings=()
  (($#)) || usage
  action=$1
  shift
  while (($#)); do
    case $1 in
      --state) state=$2 ;;
      --cores) cores=$2 ;;
      --memory) memory=$2 ;;
      --port) base=$2 ;;
      --conf) settings+=("$2") ;;
      *) usage ;;
    esac
    shift 2 || usage
  done
}

tell_addresses() { # of ports that stand alike in all clusters
  cat <<TEXT
job endpoint      127.0.0.1:$((base + 2))
worker pool       127.0.0.1:$((base + 4))
web page          http://127.0.0.1:$((base + 1))
logs              $state
TEXT
}

running() { # member: whether the very process that we started is alive, and not only unwaited for
  local pid since
  [[ -f $state/$1.pid ]] || return 1
  { read -r pid && read -r since; } <"$state/$1.pid"
  [[ $(ps -o lstart= -p "$pid") == "$since" && $(ps -o stat= -p "$pid") != Z* ]]
}

launch() { # member command…
  local member=$1
  shift
  setsid nohup "$@" >"$state/$member.log" 2>&1 </dev/null &
  printf '%s\n%s\n' $! "$(ps -o lstart= -p $!)" >"$state/$member.pid"
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

answer() { # port path: what a web page of a member says
  port_open "$1" || return 1
  (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3 && cat <&3)
}

await() { # member condition…
  local member=$1 deadline=$((SECONDS + 90))
  shift
  until "$@"; do
    if ! running "$member" || ((SECONDS > deadline)); then
      echo "the $member did not come up; the end of $state/$member.log:" >&2
      tail -n 15 "$state/$member.log" >&2
      stop
      exit 1
    fi
    sleep 0.2
  done
}

check_start() { # parts base count: what must hold before anything is started
  local port member
  [[ -f $1/complete ]] || {
    echo "no parts in $1: run 'make $(basename "$(dirname "$0")")-parts' first" >&2
    exit 2
  }
  command -v java >/dev/null || {
    echo "java is not on PATH: install Java 17" >&2
    exit 2
  }
  for member in "${members[@]}"; do
    if running "$member"; then
      echo "a cluster runs already (state: $state); stop it first" >&2
      exit 2
    fi
  done
  for port in $(seq "$2" $(($2 + $3 - 1))); do
    if port_open "$port"; then
      echo "port $port is taken; choose $3 free ones with --port" >&2
      exit 2
    fi
  done
}

stop() {
  local member pid
  for member in "${members[@]}"; do
    if running "$member"; then
      read -r pid <"$state/$member.pid"
      kill -TERM -- "-$pid" 2>/dev/null || true
      for _ in $(seq "${patience:-50}"); do
        running "$member" || break
        sleep 0.2
      done
      kill -KILL -- "-$pid" 2>/dev/null || true
    fi
    rm -f "$state/$member.pid"
  done
}

status() {
  local member up=0
  for member in "${members[@]}"; do
    if running "$member"; then
      printf '%-13s runs, pid %s\n' "$member" "$(head -n 1 "$state/$member.pid")"
    else
      printf '%-13s does not run\n' "$member"
      up=1
    fi
  done
  return "$up"
}
