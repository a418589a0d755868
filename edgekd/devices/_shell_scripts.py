"""What a device's shell is told: POSIX sh with the tools that Debian, BusyBox and Android's toybox share.

Every script is one compound command, so that a shell that reads ahead leaves its standard input alone; ends by printing
`<token> <answer>`, without which it did not end; and stops when that input does. `quote` is all that keeps a name from
being a command.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from shlex import quote

FULL = 64  # free kB at which what did not arrive did not fit


def keep(token: str, temporary: str) -> bytes:
    """Make a private folder and answer its path; at the end of the input, or of the connection, remove it."""
    return _script(
        'PATH="$PATH:/usr/bin:/bin"',
        f"folder=$(mktemp -d {temporary}/edgekd-XXXXXXXX) || exit 1",
        """trap 'rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }' 0""",
        "trap exit HUP INT PIPE TERM",
        'mkdir "$folder/incoming" "$folder/objects" || exit 1',
        _answer(token, '"$folder"'),
        "while read -r _; do :; done <&3",
    )


def supervise(token: str, folder: str, argv: Sequence[str], seconds: float) -> bytes:
    """Run a command in a process group of its own and answer its code, or `missing`.

    All of its processes end with it, after `seconds`, and at the end of the input.
    """
    program = quote(argv[0])
    return _script(
        f"cd {quote(folder)} || exit 1",
        f"export TMPDIR={quote(folder)}",  # what runtimes leave there goes with it
        f"command -v {program} >/dev/null 2>&1 || {{ {_answer(token, 'missing')}; exit; }}",
        "stay=--foreground; timeout $stay 9 true 2>/dev/null || stay=",  # or toybox's would leave the group
        f"setsid timeout $stay -s KILL {seconds:.0f} {' '.join(map(quote, argv))} 3<&- &",
        "pid=$!",
        '{ while read -r _; do :; done <&3; kill -9 "-$pid" || kill -9 "$pid"; } >/dev/null 2>&1 &',
        'watch=$!; wait "$pid"; code=$?',
        'kill "$watch"; kill -9 "-$pid" 2>/dev/null',
        _answer(token, '"$code"'),
    )


def attend(token: str, folder: str, argv: Sequence[str]) -> bytes:
    """Run a command where we are, in this shell's own process group, and answer its code, or `missing`.

    All of the group ends with it, and at the end of the input. A group of its own is what the shell must have.
    """
    return _script(
        f"export TMPDIR={quote(folder)}",
        f"command -v {quote(argv[0])} >/dev/null 2>&1 || {{ {_answer(token, 'missing')}; exit; }}",
        f"{' '.join(map(quote, argv))} 3<&- &",
        "pid=$!",
        "{ while read -r _; do :; done <&3; kill -9 0; } >/dev/null 2>&1 &",
        'wait "$pid"; code=$?',
        _answer(token, '"$code"'),
        "kill -9 0",
        private=False,
    )


def place(token: str, folder: str, arrived: Iterable[str], files: Mapping[str, str]) -> bytes:
    """Keep what arrived by its hash, then make `files`, hashes by name; answer `done`, `damaged`, `full`, `failed`."""
    names = list(files)
    parents = sorted({str(PurePosixPath(name).parent) for name in names})
    made = [f"mkdir -p {quote(parent)}" for parent in parents]
    made += [_link(f"objects/{files[name]}", quote(name)) for name in names]
    return _script(
        f"cd {quote(folder)} || exit 1",
        f"for sum in {' '.join(arrived)}; do",
        'found=$(sha256sum <"incoming/$sum"); [ "${found%% *}" = "$sum" ] && mv -f "incoming/$sum" objects ||',
        f'{{ word=damaged; set -- $(df -Pk . | tail -n 1); [ "$4" -gt {FULL} ] || word=full',
        f"{_answer(token, '$word')}; exit; }}; done",
        " &&\n".join(made) + " && " + _answer(token, "done") + " || " + _answer(token, "failed"),
    )


def fetch(token: str, path: str) -> bytes:
    """Write a file's content and answer its hash, or `absent`."""
    name = quote(path)
    return _script(
        f"[ -f {name} ] && [ -r {name} ] || {{ {_answer(token, 'absent')}; exit; }}",
        f"cat <{name}; sum=$(sha256sum <{name})",
        _answer(token, '"${sum%% *}"'),
    )


def _link(old: str, new: str) -> str:
    """A copy where links are not allowed, as on Android; the old one may be there from a push that was interrupted."""
    return f"{{ ln -f {old} {new} 2>/dev/null || cp -f {old} {new}; }}"


def _answer(token: str, word: str) -> str:
    return f"printf '\\n%s %s\\n' {token} {word}"


def _script(*lines: str, private: bool = True) -> bytes:
    umask = "umask 077; " if private else ""
    text = "\n".join((f"{{ {umask}exec 3<&0 </dev/null", *lines, "exit; }", ""))
    return text.encode(errors="surrogateescape")
