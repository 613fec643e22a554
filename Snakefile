# The execution graph: chapters → runs → site. `python -m caebook.build` writes what it
# needs into build/<profile> and calls Snakemake there: graph.json (which chapters read
# the runs of which) and inputs/*.json (what else each job depends on).
import json
import sys

graph = json.loads(Path("graph.json").read_text())


# Outputs are stamps only: Snakemake deletes declared outputs before a job and after a
# failure, and earlier notebooks, runs and pages must survive both.
rule site:
    input:
        "inputs/site.json",
        expand("done/{chapter}.json", chapter=graph),
    output:
        "site.json",
    shell:
        "{sys.executable:q} -m caebook.build --site-only"


rule chapter:
    input:
        "inputs/{chapter}.json",
        lambda wildcards: expand("done/{name}.json", name=graph[wildcards.chapter]),
    output:
        "done/{chapter}.json",
    threads: 1
    # Those that others wait for go first, so that no core is idle at the end.
    priority: lambda wildcards: sum(wildcards.chapter in used for used in graph.values())
    shell:
        "{sys.executable:q} -m caebook.build.chapters {wildcards.chapter:q}"
