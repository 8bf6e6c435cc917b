# Sourced by scripts/zchat and scripts/test: makes .venv in the checkout once and keeps it up to date.
#
# Rules of this file
# 1. When nothing changed, `set_up` starts no process: a `zchat send` in a loop pays for it each time.
# 2. Two at once do not collide: one sets up, the other waits.
# 3. One line on stderr says that it works; stdout and stdin belong to what runs afterwards.
# 4. A stamp is written last: what was interrupted is done again.
#
# A stamp holds the place of the checkout, as a virtual environment cannot be moved, and the
# pyproject.toml that it was made from. There is one for the program, one for each extra that a command needs, and one
# for the tests, which need all of them.

root=${BASH_SOURCE[0]%/*}/..

set_up() { # set_up base|chat|web|sealed|dev
    is_set_up "$1" && return
    is_set_up dev && return
    local absolute
    absolute=$(cd -P -- "$root" && pwd) && root=$absolute
    (
        lock
        is_set_up "$1" || install "$1"
    ) </dev/null >&2 || exit 1
}

is_set_up() {
    local place='' made_from='' wanted=''
    { IFS= read -r place && IFS= read -r -d '' made_from; } 2>/dev/null <"$root/.venv/$1.stamp"
    IFS= read -r -d '' wanted <"$root/pyproject.toml"
    [[ -n $place && $place -ef $root && $made_from == "$wanted" && -x $root/.venv/bin/python ]]
}

lock() { # until the subshell ends
    if command -v flock >/dev/null; then
        exec 9>"$root/.venv.lock"
        flock 9
        return
    fi
    until mkdir "$root/.venv.lock.d" 2>/dev/null; do
        local owner=''
        read -r owner 2>/dev/null <"$root/.venv.lock.d/pid"
        if [[ -n $owner ]] && ! kill -0 "$owner" 2>/dev/null; then
            rm -rf "$root/.venv.lock.d" # its owner was killed
        else
            sleep 0.2
        fi
    done
    trap 'rm -rf "$root/.venv.lock.d"' EXIT
    echo $$ >"$root/.venv.lock.d/pid"
}

install() {
    local what=$root
    [[ $1 == base ]] || what="$root[$1]"
    echo "zchat: setting up $root/.venv (once, it takes a moment)"
    rm -f "$root"/.venv/*.stamp.new
    usable || make_environment || return 1
    local said
    if ! said=$("$root/.venv/bin/python" -m pip install -q --disable-pip-version-check -e "$what" 2>&1); then
        printf '%s\n' "$said" "zchat: the set-up failed: pip could not install it, see above"
        return 1
    fi
    # Where this variable is set, Python would compile everything again at each start and take twice as long.
    env -u PYTHONDONTWRITEBYTECODE "$root/.venv/bin/python" -m compileall -q "$root/zchat" "$root"/.venv/lib/python*/site-packages >/dev/null || true
    stamp base && { [[ $1 == base ]] || stamp "$1"; }
}

stamp() {
    { printf '%s\n' "$root" && cat "$root/pyproject.toml"; } >"$root/.venv/$1.stamp.new" &&
        mv "$root/.venv/$1.stamp.new" "$root/.venv/$1.stamp"
}

usable() { # the environment that is there can be brought up to date
    local place='' stamp
    for stamp in "$root"/.venv/*.stamp; do
        [[ -f $stamp ]] && IFS= read -r place <"$stamp" && [[ ! $place -ef $root ]] && return 1
    done
    "$root/.venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

make_environment() {
    local python said
    python=$(find_python) || {
        echo "zchat: needs Python 3.11 or later; none found (set PYTHON=… to say where it is)"
        return 1
    }
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "zchat: $python cannot make virtual environments (no ensurepip); on Debian: apt-get install python3-venv"
        return 1
    fi
    rm -rf "$root/.venv"
    if ! said=$("$python" -m venv "$root/.venv" 2>&1); then
        printf '%s\n' "$said" "zchat: the set-up failed: $python could not make $root/.venv"
        return 1
    fi
}

find_python() {
    local python
    for python in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}
