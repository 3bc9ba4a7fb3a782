"""Runs the tutorials in an empty folder and keeps what they show: `python docs/tutorials/run.py [NAME …]`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
ORDER = ("toy", "distillation", "search", "own_videos")  # the first one makes what two others go on with


def kept(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Pictures, tables and what commands print, in one piece; not their progress."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and found and found[-1].output_type == "stream":
            found[-1].text += output.text if output.name == "stdout" else ""
        elif output.output_type != "stream" or output.name == "stdout":
            found.append(output)
    return found


def run(name: str, folder: Path) -> None:
    """Run one and write it back with its outputs."""
    path, start = HERE / f"{name}.ipynb", time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = kept(cell.outputs)
            for output in cell.outputs:
                if output.output_type == "stream":  # where it was run is nobody's business
                    output.text = output.text.replace(f"{folder}/", "")
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    nbformat.write(notebook, path)
    print(f"written: {path}, {path.stat().st_size / 1000:.0f} KB, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or ORDER:
            run(name, Path(folder))
