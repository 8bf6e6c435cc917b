"""One target under atheris (libFuzzer), which keeps inputs that go new ways through the code and changes them further.

    .venv/bin/python -m fuzzing.guided codecs FOLDER SECONDS SEED     in scripts/; what is found is in FOLDER
    .venv/bin/python -m fuzzing.guided codecs FILE                    one input again

Exit status: 0; another one when something was found, which libFuzzer tells on stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

INPUT_BYTES_MAX = 16_384
MEMORY_MB_MAX = 1_024
INPUT_SECONDS_MAX = 20


def main() -> None:
    """Fuzz, or give one input."""
    name, where = sys.argv[1], Path(sys.argv[2])
    if where.is_file():
        from fuzzing import codecs, cores

        {"codecs": codecs, "core": cores}[name].give(where.read_bytes())
        return
    import atheris

    with atheris.instrument_imports(include=["zchat"], enable_loader_override=False):
        from fuzzing import codecs, cores
    target = {"codecs": codecs, "core": cores}[name]
    corpus = where / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number:04}").write_bytes(data)

    def mutator(data: bytes, size_max: int, seed: int) -> bytes:
        return bytes(target.mutated(data, size_max, Random(seed), atheris.Mutate))

    options = [
        f"-max_total_time={sys.argv[3]}",
        f"-seed={sys.argv[4]}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-rss_limit_mb={MEMORY_MB_MAX}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-artifact_prefix={where}/",
        "-len_control=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.give, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
