"""`python -m distill.jobs FOLDER`: the process of one job."""

import sys

from distill.jobs.running import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
