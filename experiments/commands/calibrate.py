"""``calibrate``: from measured iterations of a serving engine to a profile that scenarios can name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml
from rich.console import Console
from rich.table import Table

from agents.files import alone_in, prepare_folder, write_csv, write_text
from edgellm_env.costs.iterations import COEFFICIENTS
from edgellm_env.costs.profiles import Profile
from experiments.calibration import fitting
from experiments.calibration.iterations import (
    PLAIN_COLUMNS,
    Iterations,
    kv_tokens_in,
    layers_of,
    read_kernel_times,
    read_meta,
    read_plain,
)
from experiments.results.figures import plot_calibration
from experiments.results.provenance import command_line
from experiments.results.summary import plain_table


@dataclass(frozen=True)
class Calibrate:
    """Fit a profile, five coefficients, to measured iterations; write it, its points and a plot (docs/profiles.md)."""

    measured: Annotated[Path, tyro.conf.Positional]
    """A folder of kernel times (dense.csv, per_sequence.csv, attention.csv, meta.yaml), or a CSV file of iterations."""
    out: Path  # Folder for NAME.yaml, NAME.csv and NAME.png.
    name: str | None = None  # The profile's name; from meta.yaml, or the file's name, unless given.
    layers: int | None = None  # Layers of the model, for kernel times; known for some models.
    sequences: int = 64  # Most sequences of the decode iterations that are fitted.
    kv_tokens: int | None = None  # Tokens that the KV cache holds, as the engine says.
    kv_tokens_from: str = "as the engine says"  # Where that number is from.
    gpu_memory_gb: float | None = None  # The GPU's memory in GB, to compute the KV tokens from unless they are given.
    max_running: int | None = None  # Requests that run together, at most; max_num_seqs of meta.yaml unless given.
    gpu: str | None = None  # As meta.yaml says unless given, like engine and model.
    engine: str | None = None
    model: str | None = None
    source: str = ""  # Where the measurements are from: repository, commit, DOI.
    licence: str = ""  # Of the measurements.

    def run(self, console: Console) -> Profile:
        """Read, fit, print the errors, write."""
        for option in ("sequences", "kv_tokens", "max_running"):
            value = getattr(self, option)
            if value is not None and not 1 <= value <= 10**9:
                raise ValueError(f"{option.replace('_', '-')}: {value}; expected a number from 1 to 1e9")
        iterations, meta, left_out = self._read()
        fit = fitting.fit(iterations, self.sequences)
        profile = self._profile(meta, iterations, fit)
        prepare_folder(self.out)
        path = self.out / f"{profile.name}.yaml"
        regions = [
            next(name for name, inside in fit.regions.items() if inside[row]) for row in range(fit.fitted_s.size)
        ]
        points = zip(*iterations, fit.fitted_s, regions, strict=True)
        with alone_in(self.out, "calibrating", path.name):
            write_csv(
                path.with_suffix(".csv"),
                (*PLAIN_COLUMNS, "fitted_ms", "region"),
                ((*map(int, row[:4]), *(f"{1e3 * seconds:.6g}" for seconds in row[4:6]), row[6]) for row in points),
            )
            shown = {  # thousands of later chunks would hide the others
                fitting.REGIONS[name]: (iterations.seconds[inside], fit.fitted_s[inside])
                for name, inside in fit.regions.items()
                if name != fitting.LATER_CHUNKS
            }
            plot_calibration(shown, profile.name, path.with_suffix(".png"))
            write_text(path, profile_text(profile))
        console.print(_coefficient_table(profile), _error_table(profile))
        if left_out:
            console.print(f"{left_out:,} iterations beyond the measured kernel sizes are left out.")
        for name in fit.beyond_limits:
            mean, most = fitting.LIMITS[name]
            bars = f"mean {mean:.0%}" + (f", max {most:.0%}" if most < 1 else "")
            console.print(f"{name}: larger errors than the profiles that ship may have ({bars}).")
        if profile.kv_tokens is None:
            console.print("kv_tokens: not known; give --kv-tokens or --gpu-memory-gb, or say it in the scenario.")
        console.print(f"Profile: {path}", markup=False)
        return profile

    def _read(self) -> tuple[Iterations, Mapping[str, Any], int]:
        if self.measured.is_dir():
            if not (self.measured / "attention.csv").is_file():
                raise ValueError(
                    f"{self.measured}: no attention.csv in it; expected a folder of kernel times, or a CSV file"
                )
            meta = read_meta(self.measured)
            if self.model is not None:
                meta = {**meta, "model": self.model}
            iterations, left_out = read_kernel_times(self.measured, layers_of(meta, self.layers))
            return iterations, meta, left_out
        if self.layers is not None:
            raise ValueError(f"layers: {self.layers}; expected none: {self.measured} holds times of whole iterations")
        return read_plain(self.measured), {}, 0

    def _profile(self, meta: Mapping[str, Any], iterations: Iterations, fit: fitting.Fit) -> Profile:
        model = self.model or str(meta.get("model", ""))
        parts = [str(meta[key]) for key in ("hardware", "model", "variant") if meta.get(key)]
        name = self.name or "-".join(part.rpartition("/")[2] for part in parts) or self.measured.resolve().stem
        engine = meta.get("engine_effective")
        engine = engine if isinstance(engine, Mapping) else {}
        most = self.max_running if self.max_running is not None else engine.get("max_num_seqs")
        version = f"vLLM {meta['vllm_version']}" if "vllm_version" in meta else ""
        kv_tokens, kv_tokens_from = self.kv_tokens, self.kv_tokens_from if self.kv_tokens is not None else ""
        if kv_tokens is None and self.gpu_memory_gb is not None:
            kv_tokens, kv_tokens_from = kv_tokens_in(self.gpu_memory_gb, model, engine)
        return Profile(
            name=re.sub(r"[^a-z0-9._-]+", "-", name.lower())[:100].lstrip(".-") or "profile",
            **fit.coefficients,
            kv_tokens=kv_tokens,
            kv_tokens_from=kv_tokens_from,
            max_running=most if isinstance(most, int) and most > 0 else None,
            fitted_sequences=int(iterations.decode_sequences[fit.regions["decode"]].max()),
            fitted_prompt_tokens=int(iterations.prefill_tokens[fit.regions["prompts"]].max()),
            engine=self.engine or version,
            gpu=self.gpu or str(meta.get("gpu", "")),
            model=model,
            source=self.source,
            licence=self.licence,
            fit=fit.errors,
            command=command_line(),
        )


def profile_text(profile: Profile) -> str:
    """Return a profile as YAML that :func:`~edgellm_env.costs.profiles.load_profile` reads back to an equal one."""
    return yaml.safe_dump(profile.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=120)


def _coefficient_table(profile: Profile) -> Table:
    rows = [(name, 1e3 * getattr(profile, name)) for name in COEFFICIENTS]
    return plain_table(profile.name, "", {"coefficient": "", "milliseconds": ".5g"}, [rows])


def _error_table(profile: Profile) -> Table:
    columns = {"iterations": "", "number": ",", "mean": ".1f", "P90": ".1f", "max": ".1f", "signed mean": "+.1f"}
    rows = []
    for name, words in fitting.REGIONS.items():
        if name in profile.fit:
            one = profile.fit[name]
            shares = one.mean, one.p90, one.max, one.signed_mean
            rows.append((f"{name}: {words}", one.points, *(100 * share for share in shares)))
    return plain_table("Relative error of fitted iterations, %", "", columns, [rows])
