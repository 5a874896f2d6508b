"""Which of mmcv's operators are here.

python -m mmcv_ops                      the table, and what mmcv.ops would run on in this environment
python -m mmcv_ops --write README.md    renders the table between the marks in that file
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmcv_ops.install import info
from mmcv_ops.table import BEGIN, END, table, with_table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"put the table between '{BEGIN}' and '{END}'")
    args = parser.parse_args()
    if args.write:
        args.write.write_text(with_table(args.write.read_text()))
    else:
        print(f"{table()}\n\n{info()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
