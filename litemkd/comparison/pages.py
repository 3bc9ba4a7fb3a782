"""The pages that are made of the published figures, docs/ledger.md and docs/reproduce.md; see generate.py."""

from __future__ import annotations

from litemkd.comparison.ledger import HEADER, ledger, notes
from litemkd.comparison.published import ORDER, PUBLISHED, QUOTED, SHOTS
from litemkd.report.tables import markdown_table

MADE = "<!-- Made by `python docs/generate.py` from litemkd/comparison/published.yaml. -->"
TITLES = {
    "kinetics100": "Kinetics-100",
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
    "ssv2_full": "Something-Something V2, full",
    "ssv2_small": "Something-Something V2, small",
}
LEDGER = f"""# The ledger: what was published, and what was run here

{MADE}

What the field claims, and what was run again here. None of these data sets comes with the software or could
be had where it was made, so the columns of own runs are empty on this page: with runs of yours in the store,
`litemkd compare --published` sets them beside the claims by protocol (data set, shots, 5 ways, backbone,
head, teacher or none), with the difference, its interval, and the number of seeds. What each row takes to be
run stands in [Reproduce](reproduce.md). What was run here, on data sets that the field has no figures of,
stands in [Results](results.md).
"""
REPRODUCE = f"""# Reproducing published figures

{MADE}

For whoever has the videos: the command that gives each row of the published tables, and what its result is to
be compared with.

1. Prepare the data set once, as [Data sets](datasets.md) says: `litemkd prepare --dataset ucf101 --videos
   UCF-101` and so on; the published splits are built in or checked.
2. Run the command, with `--device cuda` where there is a GPU, and `--seed 0`, `1`, `2`. One call of `distill`
   gives both rows of a student, labels only and distilled, and trains their teacher once. For a teacher
   without depth add `--set "teacher.modalities=[rgb,flow]"`.
3. `litemkd compare --published` lays what came out beside what was claimed. Published figures were mostly
   chosen on the test classes and have no seeds; here val chooses, so a few points less are no failure. A
   figure of one shot is met by training for one shot, which the commands say.

Learning rates and lengths of methods other than Lite-MKD are those of `experiments/published.yaml`, not of
their papers. Methods that are not here are in the [ledger](ledger.md) alone.
"""


def ledger_page() -> str:
    """The whole page."""
    sections = []
    for dataset in ORDER:
        entries = [entry for entry in ledger() if entry.column.dataset == dataset]
        table = markdown_table(list(HEADER), [list(entry.words) for entry in entries], left=3)
        sections.append(f"## {TITLES[dataset]}\n\n{table}")
    return "\n".join([LEDGER, *sections, "## Notes\n", *(f"* {note}" for note in (QUOTED, *notes()))]) + "\n"


def reproduce_page() -> str:
    """The whole page."""
    sections = []
    for dataset in ORDER:
        claims: dict[str, list[str]] = {}
        for row in PUBLISHED:
            for shot in SHOTS:
                if row.run and (dataset, shot) in row.accuracy:
                    differs, figure = f" ({row.differs})" if row.differs else "", row.quote((dataset, shot))
                    claim = f"**{row.method}, {row.backbone}, {shot}-shot: {figure} %**{differs}"
                    claims.setdefault(row.command(dataset, shot), []).append(claim)
        lines = [f"{'; '.join(found)}\n\n```bash\n{command}\n```\n" for command, found in claims.items()]
        if not lines:
            lines = [
                "No figure of a method that is here was published. Students of the published kind:\n\n"
                f"```bash\nlitemkd distill --config {dataset}/resnet18\n"
                f"litemkd distill --config {dataset}/mobilenet_v3_small\n```\n"
            ]
        sections.append(f"## {TITLES[dataset]}\n\n" + "\n".join(lines))
    return "\n".join([REPRODUCE, *sections])
