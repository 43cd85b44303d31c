#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interrupts the long commands at random moments and checks what is left, and the result of the next run.

    scripts/torture.py --program .build/release/bitsfusion                      200 kills, and 60 faults of each kind
    scripts/torture.py --program ... --kills 1000 --faults 0 --seed 3           other numbers, another seed
    scripts/torture.py --program ... --only 'distill.*'                         some commands
    scripts/torture.py --program ... --seed 1 --event kill:17                   one event again, as a report names it

Events:

    kill       SIGKILL: half of them at any time of the command, a quarter in its last fifth, a quarter while a file is
               being written. Up to three kills follow each other before the run is completed.
    full       A disk with too little space, a tmpfs of random size (root only).
    limit      A limit of file sizes (RLIMIT_FSIZE) of random size.
    read-only  All folders of the output lose their write permission at a random moment. As root, for whom permissions
               do not count, the command runs as another user.

After each event:

    - An output is the previous one, byte for byte, or complete and valid. Saves of a run are read by `info`.
    - No save is lost: a student has the steps of the last save that its log proves, and an analysis its measurements.
    - A fault ends with status 73 or 74 and one line on standard error.
    - The next run succeeds, removes what the dead one left, and has the result of an uninterrupted one.

Takes Python 3.9, h5py and NumPy (scripts/setup.sh --tests). Exits with status 1 if a check failed.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from typing import Callable, List, Optional

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True

from contents import digest, read_everything, read_sensitivity, read_tree, saved_step  # noqa: E402

# Steps of a run, and steps between saves.
STEPS, SAVE_EVERY = 4, 1
# An unprivileged user.
OTHER_USER = 65534
# Seconds between two looks at a process and its files.
PAUSE = 0.0005
# Longer than any of these commands takes on a slow machine.
TIMEOUT = 300
DISK = "256m"
INPUTS = "../inputs"


class Failure(Exception):
    """A check that failed."""


@dataclasses.dataclass
class Case:
    """A command that writes `output`."""

    name: str
    command: List[str]
    output: str
    read: Callable
    # Options of an earlier run whose output is replaced, and what allows that.
    previous: List[str]
    overwrite: List[str] = dataclasses.field(default_factory=list)
    # The option that continues an interrupted run.
    resume: Optional[str] = None
    # What of an unfinished run is in another file, and files beside the output.
    journal: Optional[str] = None
    log: Optional[str] = None
    # Measured: seconds of a run, seconds that a file is unfinished, number of such files, bytes of everything written.
    seconds: float = 0
    writing: float = 0
    writes: int = 1
    size: int = 0
    # The content of an uninterrupted run, by part.
    expected: Optional[dict] = None

    def names(self):
        return sorted({self.output.split("/")[0]} | ({self.log} if self.log else set()))


def cases(program):
    few = ["--data", f"{INPUTS}/latents.h5", "--steps", str(STEPS), "-q", "--logging-dir", "log", "--config",
           f"{INPUTS}/distill.yaml"]
    packing = ["--cached-steps", "2", "--sampler", "ddim", "-q"]
    found = [
        Case("import", ["import", f"{INPUTS}/pipeline", "-q", "-o", "model.h5"], "model.h5", read_everything,
             previous=["--dtype", "bfloat16"]),
        Case("analyze", ["analyze", "shapes", "--layers", "mid_block.*(attn1|conv1)", "--bits", "1,2", "--num-prompts",
                         "1", "--timesteps", "1", "--measure", "noise", "-q", "-o", "table.json"], "table.json",
             read_sensitivity, previous=["--seed", "5"], overwrite=["--overwrite"], resume="--resume",
             journal="table.json.partial"),
        Case("distill 1", ["distill", "--stage", "1", "--model", f"{INPUTS}/unet.h5", "--recipe",
                           f"{INPUTS}/unet.txt", *few, "-o", "stage1.h5"], "stage1.h5", read_everything,
             previous=["--seed", "5"], overwrite=["--overwrite"], resume="--resume", log="log"),
        Case("distill 2", ["distill", "--stage", "2", "--student", f"{INPUTS}/stage1.h5", *few, "-o", "stage2.h5"],
             "stage2.h5", read_everything, previous=["--seed", "5"], overwrite=["--overwrite"], resume="--resume",
             log="log"),
        Case("quantize", ["quantize", "shapes", "--recipe", f"{INPUTS}/shapes.txt", *packing, "-o", "packed.h5"],
             "packed.h5", read_everything, previous=["--encoding", "fixed"]),
        Case("pack", ["pack", f"{INPUTS}/stage2.h5", *packing, "-o", "packed.h5"], "packed.h5", read_everything,
             previous=["--encoding", "fixed"]),
        Case("export", ["export", f"{INPUTS}/model.h5", "-q", "-o", "folder"], "folder", read_tree,
             previous=["--dtype", "float32"], overwrite=["--overwrite"]),
    ]
    page = subprocess.run([program, "dataset", "--help"], capture_output=True, text=True, check=False)
    # An unknown command gives the help page of the program.
    if "bitsfusion dataset" not in page.stdout:
        print("dataset: skipped: the program has no such command", flush=True)
        return found
    other = ["--seed", "5"] if "--seed" in page.stdout else []
    for name, source in {"dataset images": [f"{INPUTS}/photos"],
                         "dataset prompts": ["--synthesize", f"{INPUTS}/prompts.txt"]}.items():
        found.append(Case(
            name, ["dataset", *source, "--model", f"{INPUTS}/model.h5", "-q", "-o", "set.h5"], "set.h5",
            read_everything, previous=other, overwrite=["--overwrite"], resume="--resume"))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Inputs.
# ---------------------------------------------------------------------------------------------------------------------


def write_png(path, pixels):
    height, width, _ = pixels.shape

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def prepare(folder, program):
    """Writes what the commands read to `folder`."""
    folder.mkdir()

    def bitsfusion(*command):
        return subprocess.run([program, *command], cwd=folder, check=True, capture_output=True, text=True).stdout

    maker = str(ROOT / "scripts" / "make_random_pipeline.py")
    subprocess.run([sys.executable, maker, str(folder / "pipeline"), "--tiny"], check=True, capture_output=True)
    bitsfusion("import", "pipeline", "-o", "model.h5", "-q")
    bitsfusion("import", "pipeline/unet", "-o", "unet.h5", "-q")
    for name, model in {"shapes": "shapes", "unet": "unet.h5"}.items():
        layers = [layer["path"] for layer in json.loads(bitsfusion("info", model, "--json"))["layers"]]
        lines = [f"{path}: {8 if path in ('conv_in', 'conv_out') else 2}\n" for path in layers
                 if "time_emb" not in path and not path.startswith("text_encoder.")]
        (folder / f"{name}.txt").write_text("".join(lines))
    settings = (ROOT / "Tests" / "Replay" / "distill-latent.yaml").read_text()
    for key, value in {"batchSize": 2, "saveEvery": SAVE_EVERY}.items():
        settings = re.sub(rf"\b{key}: \d+", f"{key}: {value}", settings)
    (folder / "distill.yaml").write_text(settings)
    generator = np.random.default_rng(1)
    with h5py.File(folder / "latents.h5", "w") as file:
        for name, shape in {"latents": (6, 4, 8, 8), "encoder_hidden_states": (6, 77, 32),
                            "empty_hidden_states": (1, 77, 32)}.items():
            file[name] = generator.standard_normal(shape, np.float32)
    few = ["--data", "latents.h5", "--steps", "1", "--config", "distill.yaml", "-q"]
    bitsfusion("distill", "--stage", "1", "--model", "unet.h5", "--recipe", "unet.txt", *few, "-o", "stage1.h5")
    bitsfusion("distill", "--stage", "2", "--student", "stage1.h5", *few, "-o", "stage2.h5")
    (folder / "photos").mkdir()
    captions = [f"image {index} of a set" for index in range(24)]
    for index, caption in enumerate(captions):
        write_png(folder / "photos" / f"{index:02}.png", generator.integers(0, 256, (72, 80, 3), np.uint8))
        (folder / "photos" / f"{index:02}.txt").write_text(caption + "\n")
    (folder / "prompts.txt").write_text("\n".join(captions) + "\n")


# ---------------------------------------------------------------------------------------------------------------------
# Runs.
# ---------------------------------------------------------------------------------------------------------------------


def unfinished(folder):
    """The temporary files below a folder."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if ".tmp-" in entry.name:
                found.add(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                found |= unfinished(entry.path)
    return found


class Run:
    """A running command."""

    def __init__(self, program, folder, command, user=None, limit=None):
        self.folder = folder
        self.errors = tempfile.TemporaryFile()
        self.start = time.monotonic()
        identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        self.process = subprocess.Popen(
            [program, *command], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors,
            preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            **identity)

    def is_running(self):
        if time.monotonic() - self.start > TIMEOUT:
            self.process.kill()
            self.process.wait()
            raise Failure(f"still running after {TIMEOUT} seconds")
        return self.process.poll() is None

    def wait_for(self, seconds):
        """Waits until `seconds` of the run are over, or its end."""
        while self.is_running() and time.monotonic() - self.start < seconds:
            time.sleep(PAUSE)

    def wait_for_write(self, number, more):
        """Waits until the temporary file with this number appears, then for `more` seconds."""
        last, count = set(), 0
        while self.is_running():
            now = unfinished(self.folder)
            count += len(now - last)
            last = now
            if count >= number:
                return self.wait_for(time.monotonic() - self.start + more)
            time.sleep(PAUSE)

    def kill(self):
        """Kills the command; whether it was still running."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        status, lines = self.end()
        if status not in (0, -signal.SIGKILL):
            raise Failure(f"status {status}: {lines}")
        return status != 0

    def end(self):
        """The status and the lines on standard error, without warnings."""
        while self.is_running():
            time.sleep(PAUSE)
        self.errors.seek(0)
        lines = self.errors.read().decode().splitlines()
        self.errors.close()
        return self.process.returncode, [line for line in lines if not line.startswith("bitsfusion: warning: ")]


class Workplace:
    """A folder that one event works in, next to the inputs."""

    def __init__(self, root, program, case, user=None, on_disk=False):
        self.program, self.case, self.user = program, case, user
        self.path = root / "work"
        self.mounted = on_disk
        self.path.mkdir()
        if on_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", str(self.path)], check=True)
        if user is not None:
            os.chown(self.path, user, user)

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", str(self.path)], check=True)
        make_writable(self.path)
        shutil.rmtree(self.path)

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)

    def used(self):
        return sum(file.stat().st_blocks * 512 for file in self.path.rglob("*"))

    def begin(self, more=(), limit=None):
        return Run(self.program, self.path, [*self.case.command, *more], user=self.user, limit=limit)

    def complete(self, more=()):
        """Runs the command to its end, which must be success."""
        status, lines = self.begin(more).end()
        if status != 0:
            raise Failure(f"the next run ({' '.join(more) or 'without options'}) has status {status}: {lines}")
        return lines

    # MARK: Checks

    @property
    def output(self):
        return self.path / self.case.output

    def has_output(self):
        """Whether there is a file; for a folder, a finished one."""
        return self.output.exists() and bool(read_files(self.output))

    def content(self):
        """The output by part, as digests."""
        try:
            return {part: digest(entries) for part, entries in self.case.read(self.output).items()}
        except Exception as error:  # Whatever a damaged file causes.
            raise Failure(f"{self.case.output} cannot be read: {error!r}") from error

    def progress(self):
        """The saved steps or measurements."""
        if self.case.journal:
            journal = self.path / self.case.journal
            return max(journal.read_bytes().count(b"\n") - 1, 0) if journal.exists() else 0
        return saved_step(self.output) or 0 if self.case.log and self.output.exists() else 0

    def proven_progress(self):
        """The steps that must be saved: the log has a line for each step, which is written before the save."""
        log = self.path / (self.case.log or "") / "metrics.jsonl"
        if not self.case.log or not log.exists():
            return 0
        return max(log.read_bytes().count(b"\n") - 1, 0) // SAVE_EVERY * SAVE_EVERY

    def check_output(self, previous):
        """What an interrupted run left at the output's path. Returns whether it is the previous output."""
        if not self.has_output():
            if previous is not None:
                raise Failure("the previous output is lost")
            return False
        if previous is not None and read_files(self.output) == previous:
            return True
        if self.case.output.endswith(".h5"):
            command = [self.program, "info", self.case.output, "--json"]
            done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False)
            # Data sets are no models.
            if done.returncode != 0 and not self.case.name.startswith("dataset"):
                raise Failure(f"the output is damaged: {done.stderr.strip()}")
        is_partial = self.case.log and self.progress() < STEPS or self.case.name.startswith("dataset")
        if not is_partial and self.content() != self.case.expected:
            raise Failure("the output is neither the previous one nor complete")
        return False

    def next_options(self, is_previous):
        """The options that continue after an interruption."""
        case = self.case
        if case.resume is None:
            return case.overwrite if self.has_output() else []
        has_journal = case.journal and (self.path / case.journal).exists()
        return [case.resume] if has_journal or not is_previous else case.overwrite

    def check_end(self):
        """The result of the completed run, and that nothing else is left."""
        if self.content() != self.case.expected:
            raise Failure("the result differs from that of an uninterrupted run")
        found = sorted(os.listdir(self.path))
        if found != self.case.names():
            raise Failure(f"the next run leaves {found}, expected {self.case.names()}")
        if unfinished(self.path):
            raise Failure(f"the next run leaves {sorted(unfinished(self.path))}")
        if self.case.log:
            lines = (self.path / self.case.log / "metrics.jsonl").read_text().splitlines()
            steps = [json.loads(line)["step"] for line in lines]
            if steps != list(range(1, STEPS + 1)):
                raise Failure(f"the log has the steps {steps}")


def read_files(path):
    """The bytes of a file, or of the finished files below a folder, by name."""
    files = path.rglob("*") if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files
            if file.is_file() and ".tmp-" not in file.name}


def folders(path):
    return [path, *(entry for entry in path.rglob("*") if entry.is_dir())]


def make_read_only(path):
    for folder in folders(path):
        with contextlib.suppress(FileNotFoundError):
            folder.chmod(0o555)


def make_writable(path):
    for folder in folders(path):
        folder.chmod(0o755)


# ---------------------------------------------------------------------------------------------------------------------
# Events.
# ---------------------------------------------------------------------------------------------------------------------


def measure(place):
    """Runs a case without interruption, for its duration, its writes and its content."""
    case = place.case
    run = place.begin()
    last, began = set(), {}
    spans = []
    while run.is_running():
        now, moment = unfinished(place.path), time.monotonic()
        for path in now - last:
            began[path] = moment
        spans.extend(moment - began[path] for path in last - now)
        last = now
        time.sleep(PAUSE)
    status, lines = run.end()
    if status != 0:
        raise Failure(f"{case.name}: status {status} without an event: {lines}")
    # Again, because polling slows the first run down.
    case.writes, case.writing = max(len(spans), 1), max(spans, default=0.01)
    case.expected = place.content()
    case.size = max(place.used(), 1)
    run = place.begin(case.overwrite)
    status, lines = run.end()
    case.seconds = time.monotonic() - run.start
    if status != 0 or place.content() != case.expected:
        raise Failure(f"{case.name}: status {status} of a second run, or another result: {lines}")


def begin_event(place, generator):
    """Makes the previous output of half of the events. Returns its bytes, and the options of the first run."""
    case = place.case
    if generator.random() < 0.5:
        return None, []
    place.complete(case.previous)
    if case.log:
        shutil.rmtree(place.path / case.log)
    return read_files(place.output), case.overwrite


def kill_event(place, generator):
    """Kills a run, often the next ones too, and completes it. Returns the number of kills."""
    case = place.case
    previous, options = begin_event(place, generator)
    kills, saved = 0, 0
    for _ in range(generator.choice([1, 1, 2, 3])):
        kind = generator.choice(["any", "any", "late", "write"])
        run = place.begin(options)
        if kind == "any":
            run.wait_for(generator.uniform(0, case.seconds))
        elif kind == "late":
            run.wait_for(generator.uniform(0.8, 1.02) * case.seconds)
        else:
            run.wait_for_write(generator.randint(1, case.writes), generator.uniform(0, 1.2 * case.writing))
        was_killed = run.kill()
        kills += was_killed
        is_previous = place.check_output(previous)
        # A run that was not killed has removed its journal, and continued ones had at least its measurements.
        reached = place.progress() if not is_previous else 0
        if was_killed and not (case.journal and place.has_output() and not is_previous):
            needed = max(saved, place.proven_progress())
            if reached < needed:
                raise Failure(f"{reached} steps or measurements are left of at least {needed}")
            saved = reached
        options = place.next_options(is_previous)
        if not was_killed:
            break
    place.complete(options)
    place.check_end()
    return kills


def fault_event(place, kind, generator):
    """Runs a command into a fault, heals it, and completes the run. Returns whether the fault ended the run."""
    case = place.case
    previous, options = begin_event(place, generator)
    size = int(generator.uniform(0, 1.1) * case.size)
    if kind == "full":
        place.resize(place.used() + size + 4096)
    run = place.begin(options, limit=size if kind == "limit" else None)
    if kind == "read-only":
        run.wait_for(generator.uniform(0, case.seconds))
        make_read_only(place.path)
    status, lines = run.end()
    make_writable(place.path)
    if kind == "full":
        place.resize(DISK)
    if status not in (0, 73, 74):
        raise Failure(f"status {status}: {lines}")
    if status != 0 and (len(lines) != 1 or not lines[0].startswith(f"bitsfusion {case.command[0]}: ")):
        raise Failure(f"status {status}, expected one line on standard error, found {lines}")
    is_previous = place.check_output(previous)
    if status == 0 and (is_previous or not place.has_output()):
        raise Failure("status 0 without an output")
    if not is_previous and place.progress() < place.proven_progress():
        raise Failure(f"{place.progress()} steps are left of at least {place.proven_progress()}")
    place.complete(place.next_options(is_previous) if status != 0 else case.overwrite)
    place.check_end()
    return status != 0


def kinds(options):
    """The kinds of events with their numbers."""
    is_root = os.geteuid() == 0
    wanted = {"kill": options.kills, "full": options.faults, "limit": options.faults, "read-only": options.faults}
    if wanted["full"] and not can_mount():
        print("full: skipped: a tmpfs cannot be mounted; the limit of file sizes is the substitute", flush=True)
        del wanted["full"]
    print(f"read-only: permissions, as user {OTHER_USER if is_root else os.geteuid()}", flush=True)
    return wanted


def can_mount():
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        try:
            is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False
        if is_mounted:
            subprocess.run(["umount", folder], check=True)
        return is_mounted


class Torture:
    def __init__(self, options, root):
        self.options, self.root = options, root
        self.program = str(root / "program" / "bitsfusion")
        self.counts = collections.Counter()
        self.failures = []

    def prepare(self):
        # The other user of read-only folders may have no access to the build folder. The program finds its resources
        # beside it.
        self.root.chmod(0o755)
        built = pathlib.Path(self.options.program).resolve()
        copy = self.root / "program"
        copy.mkdir()
        shutil.copy(built, copy)
        for resources in built.parent.glob("*.resources"):
            shutil.copytree(resources, copy / resources.name)
        prepare(self.root / "inputs", self.program)
        self.cases = [case for case in cases(self.program) if re.search(self.options.only, case.name)]
        for case in self.cases:
            with self.place(case) as place:
                measure(place)
            megabytes = case.size / 1e6
            print(f"{case.name}: {case.seconds:.2f} s, {case.writes} files written, {megabytes:.1f} MB", flush=True)

    @contextlib.contextmanager
    def place(self, case, **options):
        place = Workplace(self.root, self.program, case, **options)
        try:
            yield place
        finally:
            place.remove()

    def event(self, kind, number):
        """Runs one event; everything random depends on the seed, the kind and the number. Returns how many had effect.
        """
        case = self.cases[number % len(self.cases)]
        generator = random.Random(f"{self.options.seed} {kind} {number}")
        is_root = os.geteuid() == 0
        with self.place(case, user=OTHER_USER if kind == "read-only" and is_root else None,
                        on_disk=kind == "full") as place:
            try:
                done = kill_event(place, generator) if kind == "kill" else fault_event(place, kind, generator)
                self.counts[case.name, kind] += done
                self.counts[case.name, kind, "no effect"] += not done
                return done
            except Failure as failure:
                self.failures.append((case.name, kind, number, str(failure)))
                print(f"FAILED {case.name}, --seed {self.options.seed} --event {kind}:{number}: {failure}", flush=True)
                self.counts[case.name, kind] += 1
                return 1

    def run(self):
        self.prepare()
        if self.options.event:
            kind, number = self.options.event.split(":")
            self.event(kind, int(number))
        else:
            for kind, wanted in kinds(self.options).items():
                done = number = 0
                start = time.monotonic()
                while done < wanted:
                    done += self.event(kind, number)
                    number += 1
                    if number % 20 == 0:
                        print(f"{kind}: {done} of {wanted}, {len(self.failures)} failures", flush=True)
                    if number > 10 * wanted + 10:
                        raise Failure(f"{kind}: only {done} of {wanted} events")
                if wanted:
                    print(f"{kind}: {done} events in {time.monotonic() - start:.0f} s", flush=True)
        self.print_summary()
        return 1 if self.failures else 0

    def print_summary(self):
        names = ["kill", "full", "limit", "read-only"]
        print(f"\n{'command':16}" + "".join(f"{name:>12}" for name in names) + f"{'failures':>12}")
        rows = [(case.name, [case.name]) for case in self.cases] + [("total", [case.name for case in self.cases])]
        for title, members in rows:
            counts = [sum(self.counts[member, name] for member in members) for name in names]
            failed = sum(failure[0] in members for failure in self.failures)
            print(f"{title:16}" + "".join(f"{count:12}" for count in counts) + f"{failed:12}")
        idle = {name: sum(self.counts[case.name, name, "no effect"] for case in self.cases) for name in names}
        print("runs that ended before the event: " + ", ".join(f"{name} {count}" for name, count in idle.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the program to run")
    parser.add_argument("--kills", type=int, default=200, help="default: 200")
    parser.add_argument("--faults", type=int, default=60, help="events of each other kind, default: 60")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--only", default="", metavar="REGEX", help="the commands to interrupt, default: all")
    parser.add_argument("--event", metavar="KIND:NUMBER", help="run one event again; with the same --only")
    options = parser.parse_args()
    # Small models have short loops, in which a second thread waits for the first one on a machine with other work.
    os.environ["BITSFUSION_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="bitsfusion-torture-") as folder:
        return Torture(options, pathlib.Path(folder)).run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"torture: {failure}")
