# resume.sh began|ended FILE, resume.sh again FILE UNIT : FILE is there while a run of UNIT goes on,
# and counts how often the run was started again without an end.
#
# The workflow's service calls it when its run has begun and when it has ended. The end of the
# machine is not the end of the run: then the file stays, and the next boot starts UNIT again.
set -eu
file=$2
# Files of this boot.
here=/run/nixactions-resume/${file##*/}
max=3

count() {
    local count=0
    [ ! -e "$file" ] || read -r count <"$file" || true
    case $count in '' | *[!0-9]*) count=0 ;; esac
    echo "$count"
}
keep() {
    echo "$1" >"$file.new"
    sync "$file.new"
    mv "$file.new" "$file"
}

case $1 in
began)
    mkdir -p "${here%/*}"
    touch "$here"
    keep "$(count)"
    ;;
ended)
    [ "$(systemctl is-system-running || true)" = stopping ] || rm -f "$file"
    ;;
again)
    if [ ! -e "$file" ] || [ -e "$here" ]; then
        exit 0
    fi
    count=$(count)
    if [ "$count" -ge "$max" ]; then
        rm -f "$file"
        echo "the machine went down $((count + 1)) times in a row while a run of $3 went on: not starting it again" >&2
        exit 1
    fi
    keep $((count + 1))
    echo "a run of $3 went on when the machine went down: starting it again"
    systemctl start --no-block "$3"
    ;;
esac
