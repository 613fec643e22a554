# The execution graph: chapters → runs → site. `python -m caebook.build` writes what it
# needs into build/<profile> and calls Snakemake there: jobs.json (what there is to do,
# see `Job` in src/caebook/build/graph.py) and inputs/*.json (what each job depends on).
import json
import os
import sys

jobs = json.loads(Path("jobs.json").read_text())
# On a cluster, where each job reads this file again on its node, a job's output goes to
# files that the build shows (src/caebook/build/cluster.py).
on_cluster = "CAEBOOK_CLUSTER" in os.environ


# All outputs are asked for by name, so that Snakemake notices each one that is lost.
rule everything:
    input:
        [path for job in jobs for path in (job["record"], *job["results"])],


# Snakemake deletes a job's outputs before the job and after a failure, except those
# marked with `update`: earlier notebooks, runs and pages survive both. But it restores
# these after a failure with a new time, and then takes the job for done. So each job
# also has an ordinary output, its record: while that is missing, the job runs again.
for job in jobs:

    rule:
        name:
            job["name"]
        input:
            job["inputs"],
        output:
            job["record"],
            [update(path) for path in job["results"]],
        log:
            [f"logs/{job['name']}.err"] if on_cluster else [],
        threads: 1
        priority: job["priority"]
        params:
            command=job["command"],
        shell:
            "{sys.executable:q} -m {params.command:q}"
            + (" >> logs/{rule:q}.txt 2> {log:q}" if on_cluster else "")
