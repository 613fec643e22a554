# The execution graph: chapters → runs → site. `python -m caebook.build` writes what it
# needs into build/<profile> and calls Snakemake there: jobs.json (what there is to do,
# see `Job` in src/caebook/build/graph.py) and inputs/*.json (what each job depends on).
import json
import sys

jobs = json.loads(Path("jobs.json").read_text())


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
        threads: 1
        priority: job["priority"]
        params:
            command=job["command"],
        shell:
            "{sys.executable:q} -m {params.command:q}"
