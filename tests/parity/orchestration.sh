#!/usr/bin/env bash
# What the stock docker CLI shows of a swarm that updates, rolls back, fails, waits and runs jobs. Any engine behind the
# socket must show the same: ids, times and the nodes' names are masked, everything else is printed as it came.
#
# Usage: tests/parity/orchestration.sh unix://SOCKET >OUT
#
# The engine is one of a swarm of three managers without services, all with the image skep/demo:1 (scripts/demo-image).
# README.md beside this file says how the recording of the real Docker Engine was made.
set -uo pipefail
export DOCKER_HOST=${1:?usage: orchestration.sh unix://SOCKET} DOCKER_CLI_HINTS=false LC_ALL=C
node=$(docker info --format '{{.Name}}') || exit 1
nodes=$(docker node ls --format '{{.Hostname}}' | sort) || exit 1

image=skep/demo:1
stay='trap "exit 0" TERM; sleep 1000 & wait' # a program that stops when it is asked to

mask() {
  sed -E \
    -e 's/\b[a-z0-9]{25}\b/ID/g' -e 's/^[a-z0-9]{12}( +|: )/ID\1/' \
    -e 's/([Ll]ess than a|[Aa]bout an?|[0-9]+) (second|minute|hour)s? ago/AGO/g' \
    -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+( ?[+-]00:?00)?( UTC|Z)?/TIME/g' \
    -e "s/\b(${nodes//$'\n'/|})\b/NODE/g" -e 's/ {3,}/   /g' -e 's/[[:blank:]]+$//'
}

# Which moments a progress display shows is chance. What counts is how it ends: the sum where the service converged, and
# whether it was a rollback that was watched.
settled() {
  awk '
    /^overall progress: / { overall = $0; next }
    /^verify: / { verify = $0; next }
    /^rollback: / { rolled = 1; next }
    /^([0-9]+\/[0-9]+|job progress|active tasks): / { next }
    match($0, /^[a-z0-9]+: /) && RLENGTH == 14 { next } # a node
    { print }
    END {
      if (rolled) print "rollback: ..."
      if (verify ~ /converged$/) printf "%s\n%s\n", overall, verify
    }'
}

# docker sorts tasks by name, and whether a node's id comes before a slot's number is chance.
slots_first() { awk '/\.ID \|/ { later = later $0 "\n"; next } { print } END { printf "%s", later }'; }

part() { printf '\n\n== %s\n' "$*"; }
run() { heading docker "$@"; answer "$@"; }
heading() { printf '\n$ %s\n' "$*" | mask; }
answer() {
  timeout 40 docker "$@" 2>&1 | settled | mask | slots_first
  local status=${PIPESTATUS[0]}
  [ "$status" = 0 ] || echo "[exit $status]"
  [ "$status" != 124 ] || late
}
late() { [ $((patience -= 1)) -gt 0 ] || { echo "[too many steps came to no end]"; exit 1; }; }
patience=5

# until_is TEXT ARGS…: waits until the command prints this, whatever the order of its lines.
until_is() {
  local want=$1 got; shift
  for _ in $(seq 300); do
    got=$(docker "$@" 2>/dev/null | sort | paste -sd' ')
    [ "$got" = "$want" ] && return
    sleep 0.1
  done
  echo "[gave up: \"docker $*\" printed \"$got\", not \"$want\"]"
  late
}
update_is() { until_is "$2" service inspect "$1" --format '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}'; }
ps() {
  heading docker service ps "$@"
  answer service ps --no-trunc --format '{{.Name}} | {{.Image}} | {{.DesiredState}} | {{.CurrentState}} | {{.Error}}' "$@"
}
status() {
  heading update status of "$1"
  answer service inspect "$1" --format '{{with .UpdateStatus}}{{.State}}: {{.Message}}{{else}}none{{end}}'
}
counts() {
  heading docker service ls "$@"
  answer service ls --format '{{.Name}} | {{.Mode}} | {{.Replicas}}' "$@"
}
create() { heading docker service create "$@"; answer service create --no-resolve-image "$@"; }
update() { heading docker service update "$@"; answer service update --no-resolve-image "$@"; }

part a service with every setting of its updates
create --name web --replicas 3 --label tier=front --env A=1 --stop-grace-period 5s \
  --update-parallelism 2 --update-delay 500ms --update-monitor 1s --update-failure-action pause \
  --update-max-failure-ratio 0.2 --update-order stop-first \
  --rollback-parallelism 0 --rollback-delay 100ms --rollback-monitor 1s --rollback-failure-action continue \
  --rollback-max-failure-ratio 0.5 --rollback-order start-first \
  --restart-condition any --restart-delay 1s --restart-max-attempts 5 --restart-window 30s \
  --placement-pref spread=node.labels.zone --placement-pref spread=node.labels.rack --replicas-max-per-node 8 \
  --constraint node.role==manager --limit-memory 64m --reserve-cpu 0.01 \
  $image sh -c "$stay"
run service ls
ps web
run service inspect --pretty web
for field in Mode UpdateConfig RollbackConfig TaskTemplate.RestartPolicy TaskTemplate.Placement TaskTemplate.Resources; do
  run service inspect web --format "{{json .Spec.$field}}"
done

part scaling
run service scale web=4
counts
run service scale web=2
until_is 'Running Running' service ps web --format '{{.DesiredState}}'
ps web
run service scale web=x
run service scale nosuch=1

part a rolling update
update --env-add A=2 web
update_is web completed
status web
run service inspect --pretty web
ps web
part what does not concern tasks restarts none
update --label-add tier=back web
status web
ps web --filter desired-state=running
part by force
update --force --update-parallelism 0 --update-order start-first web
update_is web completed
status web
ps web --filter desired-state=running

part back and forth
run service rollback web
update_is web rollback_completed
status web
run service inspect web --format '{{json .Spec.UpdateConfig}} {{.Spec.TaskTemplate.ForceUpdate}}'
run service inspect --pretty web
run service update --rollback web
update_is web rollback_completed
status web
run service inspect web --format '{{json .Spec.UpdateConfig}} {{.Spec.TaskTemplate.ForceUpdate}}'
run service update --rollback --force web

part every setting is changed
create -d --name all --replicas 0 --constraint node.role==manager --placement-pref spread=node.labels.rack --label tier=x \
  --container-label k=v --env A=1 --limit-cpu 0.4 --limit-pids 40 --hostname first --user nobody --workdir /tmp --init \
  --stop-signal SIGTERM --read-only --tty $image sleep 1000
setting() { update -d "$@" all; run service inspect all --format '{{json .Spec}}'; run service inspect --pretty all; }
setting --constraint-add node.labels.color!=blue --constraint-rm node.role==manager --replicas-max-per-node 4 \
  --placement-pref-add spread=node.labels.row --placement-pref-rm spread=node.labels.rack --generic-resource-add ssd=1 \
  --limit-cpu 0.5 --limit-memory 32m --limit-pids 50 --reserve-cpu .02 --reserve-memory 8m
setting --restart-condition on-failure --restart-delay 2s --restart-max-attempts 3 --restart-window 20s \
  --update-parallelism 3 --update-delay 1s --update-monitor 2s --update-failure-action continue --update-max-failure-ratio .3 \
  --update-order start-first --rollback-parallelism 4 --rollback-delay 3s --rollback-monitor 4s \
  --rollback-failure-action continue --rollback-max-failure-ratio .4 --rollback-order start-first
setting --container-label-add a=b --env-rm A --env-add C=3 --hostname second --user root --workdir / --label-rm tier --label-add t=y \
  --stop-grace-period 3s --stop-signal SIGINT --tty=false --read-only=false --init=false --entrypoint 'sh -c' --args exit
setting --generic-resource-rm ssd --group-add 5 --ulimit-add nofile=100:200 --cap-add NET_ADMIN --cap-drop CHOWN \
  --sysctl-add net.core.somaxconn=10 --image skep/demo:2 --limit-pids 0 --limit-cpu 0 --limit-memory 0 --replicas-max-per-node 0
setting --group-rm 5 --ulimit-rm nofile --cap-drop NET_ADMIN --sysctl-rm net.core.somaxconn --container-label-rm k --env-rm C
update -d --rollback all
run service inspect all --format '{{json .Spec}}'
run service rm all
create -d --mode replicated-job --name count --replicas 0 --max-concurrent 1 $image true
update -d --max-concurrent 2 count
run service inspect count --format '{{json .Spec.Mode}}'
update -d --replicas 3 count
run service rm count

part an update that fails pauses after the first task
create --name frail --replicas 2 --update-monitor 1s --update-delay 5s --restart-condition none \
  --rollback-monitor 1s --rollback-parallelism 0 $image sh -c "$stay"
update --args false frail
status frail
run service inspect --pretty frail
heading states of frail
answer service ps frail --no-trunc --format '{{.DesiredState}} | {{.CurrentState}} | {{.Error}}' | sort
counts --filter name=frail
part another update resumes
update --args "sh -c '$stay'" --update-failure-action rollback --update-delay 100ms frail
update_is frail completed
status frail
part an update that fails and is rolled back
update --args false frail
run service inspect frail --format '{{.Spec.TaskTemplate.ContainerSpec.Args}}'
until_is 'Running Running' service ps frail --format '{{slice .CurrentState 0 7}}' --filter desired-state=running
counts --filter name=frail
part an update that fails and goes on
update -d --args false --update-failure-action continue --update-parallelism 0 frail
update_is frail completed
status frail
run service rollback frail
update_is frail rollback_completed
status frail
run service rm frail

part one on every node
create --mode global --name everywhere --update-monitor 1s --rollback-monitor 1s $image sh -c "$stay"
counts --filter name=everywhere
run service ps --no-trunc everywhere
update --env-add B=1 everywhere
update_is everywhere completed
status everywhere
run service rollback everywhere
update_is everywhere rollback_completed
status everywhere
run service scale everywhere=2
update --replicas 2 everywhere
run service inspect everywhere --format '{{json .Spec.Mode}}'
run service rm everywhere

part jobs
done_is() { until_is "$2" service ls --filter "name=$1" --format '{{.Replicas}}'; }
create --mode replicated-job --name count --replicas 3 --max-concurrent 2 $image true
counts --filter name=count
ps count
run service inspect --pretty count
run service inspect count --format '{{json .Spec.Mode}} {{json .JobStatus}}'
update -d --force count
done_is count '0/2 (3/3 completed)'
until_is 'Complete Complete Complete Complete Complete Complete' service ps count --format '{{slice .CurrentState 0 8}}'
ps count
run service inspect count --format '{{json .JobStatus}}'
run service scale -d count=4
done_is count '0/2 (4/4 completed)'
run service inspect count --format '{{json .Spec.Mode}} {{json .JobStatus}}'
run service rollback -d count
run service update -d --update-order start-first count
create --mode global-job --name once $image true
counts --filter name=once
run service ps --no-trunc once
run service inspect once --format '{{json .Spec.Mode}} {{json .JobStatus}}'
create -d --mode replicated-job --name lame --restart-condition on-failure --restart-delay 100ms --restart-max-attempts 2 $image false
until_is 'Failed Failed Failed' service ps lame --format '{{slice .CurrentState 0 6}}'
until_is 'Shutdown Shutdown Shutdown' service ps lame --format '{{.DesiredState}}'
ps lame
counts --filter name=lame
run service rm count once lame

part restarts
create -d --name crash --restart-condition on-failure --restart-delay 100ms --restart-max-attempts 2 $image sh -c 'exit 3'
until_is 'Failed Failed Failed' service ps crash --format '{{slice .CurrentState 0 6}}'
until_is 'Shutdown Shutdown Shutdown' service ps crash --format '{{.DesiredState}}'
ps crash
create -d --name fine --restart-condition on-failure $image true
until_is 'Shutdown' service ps fine --format '{{.DesiredState}}'
ps fine
counts --filter name=fine
run service rm crash fine

part tasks that wait
waits() { # NAME FLAGS…: a service whose task stays pending, and why
  local name=$1; shift
  create -d --name "$name" "$@" $image sh -c "$stay"
  until_reason "$name"
  ps "$name"
}
until_reason() {
  for _ in $(seq 100); do
    case $(docker service ps "$1" --filter desired-state=running --format '{{.Error}}') in *'no suitable node'*) break ;; esac
    sleep 0.1
  done
}
waits picky --constraint node.labels.color==red
run node update --label-add color=red "$node"
until_is Running service ps picky --format '{{slice .CurrentState 0 7}}' --filter desired-state=running
run node update --label-rm color "$node"
until_reason picky
heading the newest task of picky
docker service ps picky --no-trunc --format '{{.CurrentState}} | {{.Error}}' | head -1 | mask
waits large --reserve-memory 100000g
waits gpu --generic-resource gpu=2
run service inspect gpu --format '{{json .Spec.TaskTemplate.Resources.Reservations}}'
run service inspect --pretty gpu
waits foreign --constraint node.platform.os==plan9
create --name narrow --replicas 3 --replicas-max-per-node 1 --update-monitor 1s $image sh -c "$stay"
run service scale -d narrow=4
until_is 'Pending Running Running Running' service ps narrow --format '{{slice .CurrentState 0 7}}'
until_reason narrow
ps narrow
run service rm picky large gpu foreign narrow

part drained nodes
# Docker takes the tasks of every service at once; skep leaves one that starts first where it is until its replacement runs.
docker service update --detach --update-order stop-first web >/dev/null
for name in $nodes; do run node update --availability drain "$name"; done
until_is 'Pending Pending' service ps web --format '{{slice .CurrentState 0 7}}' --filter desired-state=running
ps web --filter desired-state=running
for name in $nodes; do run node update --availability active "$name"; done
until_is 'Running Running' service ps web --format '{{slice .CurrentState 0 7}}' --filter desired-state=running
counts --filter name=web

part what is refused
refused() { create -d --name refused "$@" $image; }
refused --update-parallelism -1
refused --update-max-failure-ratio 2
refused --update-max-failure-ratio=-0.5
refused --update-failure-action explode
refused --update-order sideways
refused --rollback-order sideways
refused --update-delay=-1s
refused --update-monitor=-1s
refused --restart-condition sometimes
refused --restart-delay=-1s
refused --mode sometimes
refused --mode global --replicas 2
refused --mode global --replicas-max-per-node 2
refused --mode global-job --replicas 2
refused --mode replicated --max-concurrent 2
refused --mode replicated-job --update-order start-first
refused --mode replicated-job --rollback-order start-first
refused --mode global-job --update-delay 1s
refused --constraint node.role~manager
refused --constraint 'node.role=='
refused --placement-pref node.labels.zone
refused --placement-pref pack=node.labels.zone
refused --generic-resource gpu
refused --generic-resource gpu=x
refused --generic-resource gpu=-1
create -d --name -x $image
create -d --name a.b $image
create -d --name web $image
update -d --update-order sideways web
update -d --update-max-failure-ratio 7 web
update -d --constraint-add 'node.role=x' web
run service rollback nosuch
create -d --name fresh --replicas 0 $image
run service rollback fresh
counts
docker service ls -q | xargs docker service rm >/dev/null
