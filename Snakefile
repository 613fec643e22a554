# The execution graph: chapters → runs → site. `python -m caebook.build` prepares
# inputs/*.json (what each job depends on) and calls Snakemake in build/<profile>.
import sys

from caebook.chapters import Build, find_chapters

build = Build.read(Path.cwd())
chapters = {chapter.name: chapter for chapter in find_chapters()}
writer = {
    run: chapter.name
    for chapter in chapters.values()
    for run in build.run_ids(chapter.writes)
}


def stamps_read(wildcards):
    """Stamps of the chapters whose runs this one reads."""
    chapter = chapters[wildcards.chapter]
    runs = build.run_ids(chapter.reads)
    names = {writer[run] for run in runs if run in writer} - {chapter.name}
    return [f"done/{name}.json" for name in sorted(names)]


rule site:
    input:
        "site.json",


rule chapter:
    input:
        "inputs/{chapter}.json",
        stamps_read,
    # Only the stamp: Snakemake deletes declared outputs before a job and after a
    # failure, and earlier notebooks and runs must survive both.
    output:
        "done/{chapter}.json",
    wildcard_constraints:
        chapter="|".join(chapters),
    threads: 1
    shell:
        "{sys.executable} -m caebook.chapters {wildcards.chapter}"


rule pages:
    input:
        "inputs/site.json",
        expand("done/{chapter}.json", chapter=chapters),
    output:
        "site.json",
    threads: 1
    shell:
        "{sys.executable} -m caebook.build --site-only"
