"""Install a plug-in as pip would, into a folder of its own: no network, and this package stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
ACME = ROOT / "examples" / "acme-exports"


def install(project: Path, site: Path) -> Path:
    """Put the package of ``project`` into the folder ``site`` and return ``site``.

    From its wheel where a builder is installed; otherwise from what its ``pyproject.toml`` says.
    """
    if find_spec("hatchling"):
        build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
        out = site.parent / f"{site.name}-wheel"
        command = [sys.executable, "-c", build, str(out)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
        with zipfile.ZipFile(out / done.stdout.splitlines()[-1]) as wheel:
            wheel.extractall(site)
        return site
    says = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    for package in says["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        for file in (project / package).rglob("*"):
            if file.suffix in (".py", ".json"):
                target = site / file.relative_to(project)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    name, version = says["project"]["name"], says["project"]["version"]
    register(site, name, says["project"]["entry-points"], version)
    return site


def register(site: Path, name: str, entry_points: dict[str, dict[str, str]], version: str = "0.1.0") -> None:
    """Write into ``site`` what tells Python that the package ``name`` is installed there."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), ""]
    (folder / "entry_points.txt").write_text("\n".join(lines), "utf-8")


def python(
    *arguments: str, site: Path, cwd: Path, path: tuple[Path, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with ``site`` and then ``path`` on its path; return what it said."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (site, *path))), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
