# resume.sh began|ended FILE, resume.sh again FILE UNIT RUNS : FILE is there while a run of the
# workflow's service UNIT goes on, and counts how often the run was started again without an end. RUNS is the directory of the
# workflow's runs without their number.
#
# The workflow's service calls it before its run and after it. The end of the machine is not the end
# of the run: then the file stays, and the next boot starts UNIT again.
set -eu
file=$2
max=3

count() {
    local count=0
    [ ! -e "$file" ] || read -r count <"$file" || true
    case $count in '' | *[!0-9]*) count=0 ;; esac
    echo "$count"
}
# This function and the next one write to the disk at once, so that a loss of power undoes neither.
keep() {
    echo "$1" >"$file.new"
    sync "$file.new"
    mv "$file.new" "$file"
    sync "${file%/*}"
}
forget() {
    rm -f "$file"
    sync "${file%/*}"
}
# Whether the run that began after FILE has ended by itself: its client was killed, and did not see
# the end.
has_ended() {
    local dir first=
    for dir in "$1"-*; do
        case ${dir#"$1"-} in *[!0-9]*) continue ;; esac
        [ "$dir/run.json" -nt "$file" ] || continue
        [ -n "$first" ] && [ "$first/run.json" -ot "$dir/run.json" ] || first=$dir
    done
    [ -n "$first" ] && [ -e "$first/record.json" ] || return 1
    # The two ends of a run that the machine's end causes: of a loss of power, and of a shutdown,
    # which a run learns from its client, by a signal, or from systemd.
    ! grep --quiet '"reasonCode": *"lost"' "$first/record.json" || return 1
    ! grep --quiet '"cancelRequested","by":"\(client\|SIGTERM\|shutdown\)"' "$first/events.jsonl"
}

case $1 in
began)
    keep "$(count)"
    ;;
ended)
    case $SERVICE_RESULT/${EXIT_STATUS:-} in
    # Not `success` alone: `SuccessExitStatus=` may call a cancelled run so.
    success/0) forget ;;
    # The client was killed. The run goes on without it.
    signal/* | core-dump/* | oom-kill/*) ;;
    # A run that a shutdown has cancelled keeps its file.
    *) [ "$(systemctl is-system-running || true)" = stopping ] || forget ;;
    esac
    ;;
again)
    [ -e "$file" ] || exit 0
    # The file may be that of a run of this boot.
    case $(systemctl is-active "$3" || true) in active | activating) exit 0 ;; esac
    if has_ended "$4"; then
        forget
        echo "the run of $3 had ended when the machine went down: not starting it again"
        exit 0
    fi
    count=$(count)
    if [ "$count" -ge "$max" ]; then
        forget
        echo "the machine went down $((count + 1)) times in a row while a run of $3 went on: not starting it again" >&2
        exit 1
    fi
    keep $((count + 1))
    echo "a run of $3 went on when the machine went down: starting it again"
    systemctl start --no-block "$3"
    ;;
esac
