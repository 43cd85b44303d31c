#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs commands with several processes under mpirun and compares their files with those of one process.

    scripts/test_mpi.py --program .build/release/bitsfusion               all checks
    scripts/test_mpi.py --program ... --only 'kill|stop'                  some checks
    scripts/test_mpi.py --program ... --steps 40 --kills 20 --seed 3      other numbers

Takes Python 3.9. Exits with status 1 if a check failed.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# Seconds for a command that ends by itself.
TIMEOUT = 600
# Options of OpenMPI: more processes than processors; the seconds before mpirun, on SIGTERM, sends SIGTERM to its
# processes, and again before it kills them; containers.
OPENMPI = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_odls_base_sigkill_timeout": "5",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


class Failure(Exception):
    """A check that failed."""


class Skipped(Exception):
    """A check that cannot run here."""


def expect(condition, text):
    if not condition:
        raise Failure(text)


class Job:
    """Runs the program in a folder of its own, so that all command lines are equal."""

    def __init__(self, program, mpirun, folder, steps):
        self.program = str(pathlib.Path(program).resolve())
        self.mpirun, self.folder, self.steps = mpirun, pathlib.Path(folder), steps

    def command(self, processes, arguments):
        """`processes`: a number; or a list of environments, one per process; 0 for no launcher."""
        if processes == 0:
            return [self.program] + arguments
        if isinstance(processes, int):
            return self.mpirun + ["-n", str(processes), self.program] + arguments
        parts = [["-n", "1", "env"] + [f"{k}={v}" for k, v in each.items()] + [self.program] + arguments
                 for each in processes]
        return self.mpirun + [word for part in parts for word in part + [":"]][:-1]

    def is_openmpi(self):
        found = subprocess.run([*self.mpirun, "--version"], capture_output=True, text=True)
        return "Open MPI" in found.stdout

    def path(self, name):
        """A folder with the recipe and the settings."""
        path = self.folder / name
        if not path.exists():
            path.mkdir()
            for each in self.folder.glob("*.*"):
                shutil.copy(each, path)
        return path

    def start(self, processes, arguments, name):
        """A job in the background, in a process group of its own."""
        return subprocess.Popen(
            self.command(processes, arguments), cwd=self.path(name), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True)

    def run(self, processes, arguments, name, status=0):
        """Standard error of a job that ends with `status`; None: with any but 0."""
        process = self.start(processes, arguments, name)
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failure(f"{arguments}: did not end within {TIMEOUT} s")
        is_expected = process.returncode != 0 if status is None else process.returncode == status
        expect(is_expected, f"{' '.join(arguments)} ({processes}): status {process.returncode}: {out}{err}")
        return own_lines(err)

    def stage(self, number, *more):
        start = ["--model", "shapes", "--recipe", "recipe.txt"] if number == 1 else ["--student", "stage1.h5"]
        steps = [] if "--steps" in more else ["--steps", str(self.steps)]
        return ["distill", "--stage", str(number), "--config", "settings.yaml", *steps, "-o", f"stage{number}.h5",
                "--logging-dir", f"log{number}", "--quiet", *start, *more]

    def wait_for_step(self, process, name, step):
        """Returns when a job of stage 1 has done `step` steps, or has ended."""
        log = self.path(name) / "log1" / "metrics.jsonl"
        def done():
            steps = log.read_bytes().count(b"\n") if log.exists() else 0
            return steps >= step or process.poll() is not None
        wait_for(done, 120, f"step {step} is not done within 120 s")

    def digest(self, name, file):
        path = self.path(name) / file
        expect(path.exists(), f"{name}/{file}: missing")
        return hashlib.sha256(path.read_bytes()).hexdigest()


def own_lines(text):
    """The lines of the program, without those of mpirun."""
    return [line for line in text.splitlines() if line.startswith("bitsfusion")]


def members(process):
    """The program's processes of a job by rank."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            environment = (entry / "environ").read_bytes().split(b"\0")
            if os.getsid(int(entry.name)) != process.pid and not is_descendant(int(entry.name), process.pid):
                continue
            if b"bitsfusion" not in (entry / "comm").read_bytes():
                continue
            for line in environment:
                for key in (b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK="):
                    if line.startswith(key):
                        found[int(line[len(key):])] = int(entry.name)
    return found


def found_in(namespace):
    """The processes in a network namespace."""
    listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


def end_all(process):
    """SIGTERM to all processes of a job, as batch systems send it."""
    for member in members(process).values():
        os.kill(member, signal.SIGTERM)


def is_descendant(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return False


def wait_for(condition, seconds, text):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise Failure(text)


# Checks


def equal_bits(job, _):
    """1, 2, 3 and 4 processes write the same files in both stages, and in the training of a teacher."""
    for processes in (0, 1, 2, 3, 4):
        shards = ["--shard-optimizer", "--watchdog", "60"] if processes in (3, 4) else []
        for number in (1, 2):
            job.run(processes, job.stage(number, *shards), f"equal-{processes}")
        job.run(processes, ["train", "--config", "teacher.yaml", "--steps", "6", "-o", "teacher.h5", "-q"],
                f"equal-{processes}")
    for file in ("stage1.h5", "stage2.h5", "teacher.h5"):
        digests = {n: job.digest(f"equal-{n}", file) for n in (0, 1, 2, 3, 4)}
        expect(len(set(digests.values())) == 1, f"{file}: differs: {digests}")


def sweep(job, _):
    """1 to 3 processes write the same sensitivity table, also after SIGTERM to all of them."""
    analyze = ["analyze", "shapes", "--measure", "noise,fisher", "--num-prompts", "2", "--bits", "2", "--layers",
               "mid_block|up_blocks.0", "-o", "sensitivity.json", "-q"]
    for processes in (0, 1, 2, 3):
        job.run(processes, analyze, f"sweep-{processes}")
    expect(len({job.digest(f"sweep-{n}", "sensitivity.json") for n in (0, 1, 2, 3)}) == 1, "tables differ")
    process = job.start(2, analyze, "sweep-stopped")
    journal = job.path("sweep-stopped") / "sensitivity.json.partial"
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 3, 60, "nothing is measured")
    end_all(process)
    _, err = process.communicate(timeout=60)
    lines = own_lines(err)
    expect(len(lines) == 1 and "continue with --resume" in lines[0], f"expected one line, found {err}")
    job.run(3, [*analyze, "--resume"], "sweep-stopped")
    expect(job.digest("sweep-stopped", "sensitivity.json") == job.digest("sweep-1", "sensitivity.json"), "differs")


def terminate(job, _):
    """SIGTERM to all processes saves; the run continues with another number of processes to the same bits.

    SIGTERM to mpirun does the same after OpenMPI's waiting time, which is too long for a run of this length.
    """
    long = ["--steps", str(3 * job.steps)]
    job.run(1, job.stage(1, *long), "uninterrupted")
    process = job.start(2, job.stage(1, *long), "terminate")
    job.wait_for_step(process, "terminate", job.steps)
    expect(process.poll() is None, "the run was too short to be interrupted")
    end_all(process)
    _, err = process.communicate(timeout=60)
    lines = own_lines(err)
    expect(len(lines) == 1 and "continue with --resume" in lines[0], f"expected one line, found {err}")
    job.run(3, job.stage(1, *long, "--resume"), "terminate")
    expect(job.digest("terminate", "stage1.h5") == job.digest("uninterrupted", "stage1.h5"), "resumed: other bits")


def kill(job, options):
    """After kill -9 of a random process the job ends, and continues with another number to the same bits."""
    for trial in range(options.kills):
        processes = options.random.choice([2, 4])
        name = f"kill-{trial}"
        process = job.start(processes, job.stage(1), name)
        found = wait_for(lambda: len(members(process)) == processes and members(process), 60, "no start")
        # Step 0: at any time before the first step, such as while the processes find each other.
        step = options.random.randrange(job.steps)
        job.wait_for_step(process, name, step)
        time.sleep(options.random.uniform(0, 0.3))
        if process.poll() is None:
            victim = options.random.randrange(processes)
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[victim], signal.SIGKILL)
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise Failure(f"trial {trial}: the job did not end within 30 s after process {victim} was killed")
            expect(process.returncode != 0 or (job.path(name) / "stage1.h5").exists(), f"trial {trial}: status 0")
        else:
            process.communicate()
        shards = options.random.choice([[], ["--shard-optimizer"]])
        job.run(options.random.choice([0, 1, 2, 3, 4]), job.stage(1, "--resume", *shards), name)
        expect(job.digest(name, "stage1.h5") == job.digest("equal-1", "stage1.h5"), f"trial {trial}: other bits")
        shutil.rmtree(job.path(name))


def stop(job, _):
    """A process that is stopped is named by the watchdog, in a training and in a distribution of tasks."""
    synthesize = ["dataset", "--synthesize", "prompts.txt", "--model", "shapes", "--steps", "10", "--count", "400",
                  "--batch-size", "2", "-o", "set.h5", "-q", "--watchdog", "3"]
    train = job.stage(1, "--watchdog", "3")
    # There are more tasks than end in time.
    for victim, processes, arguments in ((1, 2, train), (0, 2, train), (1, 3, synthesize)):
        shutil.rmtree(job.path("stop"))
        (job.path("stop") / "prompts.txt").write_text("a red circle\na green square")
        process = job.start(processes, arguments, "stop")
        found = wait_for(lambda: len(members(process)) == processes and members(process), 60, "no start")
        if arguments is synthesize:
            log = job.path("stop") / "set.h5.part" / "samples.log"
            wait_for(lambda: log.exists() and log.stat().st_size > 0, 60, "nothing is sampled")
        else:
            job.wait_for_step(process, "stop", job.steps // 3)
        os.kill(found[victim], signal.SIGSTOP)
        start = time.monotonic()
        try:
            _, err = process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failure("the job did not end within 40 s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[victim], signal.SIGKILL)
        expect(time.monotonic() - start > 2, "the job ended before the deadline")
        named = [line for line in own_lines(err) if f"process {victim} of {processes}" in line]
        expect(len(named) == 1, f"process {victim} is not named once: {err}")


def refusals(job, _):
    """What cannot run is refused with one line."""
    def refused(processes, arguments, status, text):
        lines = job.run(processes, arguments, "refusals", status)
        expect(len(lines) == 1 and re.search(text, lines[0]), f"expected one line with '{text}', found {lines}")

    program = [{"BITSFUSION_KERNELS": "portable"}, {"BITSFUSION_KERNELS": "avx2"}]
    refused(program, job.stage(1), 65, r"kernels: process 1 on \S+ has avx2, process 0 on \S+ has portable")
    refused(8, job.stage(1), 65, "8 processes share the micro-batches of a step, but a batch of 8 has 4")
    refused(2, ["distill", "--stage", "1", "--model", "shapes", "--recipe", "missing.txt"], 66, "missing.txt")
    refused([{"BITSFUSION_MPI": "/nowhere.so"}] * 2, job.stage(1), 66, "make setup-mpi")
    lines = job.run(2, ["info", "stage1.h5"], "equal-1", 64)
    expect(lines and "info runs in one process" in lines[0], f"found {lines}")
    # Files that differ between machines.
    settings = job.path("refusals") / "settings.yaml"
    other = job.path("refusals") / "other.yaml"
    other.write_text(settings.read_text().replace("seed: 0", "seed: 1"))
    arguments = job.stage(1)
    parts = [arguments, [word.replace("settings.yaml", "other.yaml") for word in arguments]]
    command = job.mpirun + [
        word for part in parts for word in ["-n", "1", job.program] + part + [":"]][:-1]
    found = subprocess.run(command, cwd=job.path("refusals"), capture_output=True, text=True)
    lines = own_lines(found.stderr)
    expect(found.returncode == 65 and len(lines) == 1 and "settings: process 1" in lines[0], f"found {found.stderr}")


def images(job, _):
    """1 to 3 processes write the same set of latents and the same scores of images."""
    prompts = [f"a {color} {shape}" for color in ("red", "green") for shape in ("circle", "square", "cross")]
    files = {"set.h5": ["dataset", "--synthesize", "prompts.txt", "--model", "shapes", "--steps", "4", "--batch-size",
                        "2", "--trajectory-states", "2", "-o", "set.h5", "-q"],
             "scores.csv": ["evaluate", "shapes", "--prompts-per-family", "2", "--steps", "4", "--batch-size", "2",
                            "--image-scores", "scores.csv", "--output", "scores.json", "-q"]}
    for processes in (0, 1, 2, 3):
        name = f"images-{processes}"
        (job.path(name) / "prompts.txt").write_text("\n".join(prompts))
        for arguments in files.values():
            job.run(processes, arguments, name)
    for file in files:
        expect(len({job.digest(f"images-{n}", file) for n in (0, 1, 2, 3)}) == 1, f"{file}: differs")
    scores = [json.loads((job.path(f"images-{n}") / "scores.json").read_text()) for n in (0, 1, 2, 3)]
    for score in scores:
        del score["rows"][0]["score"]["secondsPerImage"]
    expect(all(score == scores[0] for score in scores), "scores.json: differs")
    # Another number of processes continues a set.
    shutil.rmtree(job.path("images-stopped"))
    (job.path("images-stopped") / "prompts.txt").write_text("\n".join(prompts * 40))
    more = [*files["set.h5"], "--count", "2"]
    process = job.start(2, more, "images-stopped")
    log = job.path("images-stopped") / "set.h5.part" / "samples.log"
    wait_for(lambda: log.exists() and log.stat().st_size > 0, 60, "nothing is sampled")
    end_all(process)
    _, err = process.communicate(timeout=60)
    lines = own_lines(err)
    expect(len(lines) == 1 and "continue with --resume" in lines[0], f"expected one line, found {err}")
    job.run(3, [*more, "--resume"], "images-stopped")
    shutil.copytree(job.path("images-stopped"), job.folder / "images-whole")
    (job.path("images-whole") / "set.h5").unlink()
    job.run(0, more, "images-whole")
    expect(job.digest("images-whole", "set.h5") == job.digest("images-stopped", "set.h5"), "resumed: other bits")


class Hosts:
    """Two network namespaces with host names of their own, joined by a link of 10 Gbit/s and 1 ms."""

    def __init__(self, folder):
        self.agent = folder / "agent.sh"
        self.agent.write_text("#!/bin/sh\nshift\nexec " + " ".join(self.within(2)) + ' "$*"\n')
        self.agent.chmod(0o755)

    @staticmethod
    def within(number):
        """The start of a shell command on a host."""
        return ["ip", "netns", "exec", f"bitsfusion{number}", "unshare", "--uts", "sh", "-c",
                f"'hostname host{number}; exec sh -c \"$0\"'" ]

    def __enter__(self):
        try:
            self.build()
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            raise Skipped("network namespaces are not available here") from error
        return self

    @staticmethod
    def build():
        def ip(*arguments):
            subprocess.run(["ip", *arguments], check=True, capture_output=True)

        ip("netns", "add", "bitsfusion1")
        ip("netns", "add", "bitsfusion2")
        ip("link", "add", "bitsfusion-a", "netns", "bitsfusion1", "type", "veth", "peer", "name", "bitsfusion-b",
           "netns", "bitsfusion2")
        for number, link in ((1, "bitsfusion-a"), (2, "bitsfusion-b")):
            space = f"bitsfusion{number}"
            ip("-n", space, "addr", "add", f"10.99.0.{number}/24", "dev", link)
            ip("-n", space, "link", "set", link, "up")
            ip("-n", space, "link", "set", "lo", "up")
            # Half of the round trip each way; without it where the kernel has no netem.
            subprocess.run(["tc", "-n", space, "qdisc", "add", "dev", link, "root", "netem", "delay", "0.5ms", "rate",
                            "10gbit"], capture_output=True)

    def __exit__(self, *_):
        for number in (1, 2):
            with contextlib.suppress(OSError):
                subprocess.run(["ip", "netns", "del", f"bitsfusion{number}"], capture_output=True)

    def cut(self):
        subprocess.run(["ip", "-n", "bitsfusion1", "link", "set", "bitsfusion-a", "down"], check=True)

    def mpirun(self):
        options = ["mpirun", "--host", "10.99.0.1,10.99.0.2"]
        for key, value in (("plm_rsh_agent", self.agent), ("btl", "tcp,self"), ("pml", "ob1"),
                           ("btl_tcp_if_include", "10.99.0.0/24"), ("oob_tcp_if_include", "10.99.0.0/24")):
            options += ["--mca", key, str(value)]
        return options


class HostJob(Job):
    """Runs the program with one process on each of two hosts."""

    def __init__(self, job, hosts):
        self.program, self.folder, self.steps, self.hosts = job.program, job.folder, job.steps, hosts

    def command(self, processes, arguments):
        command = shlex.join(self.hosts.mpirun() + ["-n", str(processes), self.program] + arguments)
        return ["sh", "-c", " ".join(self.hosts.within(1)) + " " + shlex.quote(command)]


def hosts(job, _):
    """Two hosts give the bits of one process; after one is cut off, the job ends and names it."""
    if not job.is_openmpi():
        raise Skipped("needs OpenMPI")
    with Hosts(job.folder) as network:
        pair = HostJob(job, network)
        pair.run(2, pair.stage(1, "--shard-optimizer"), "hosts")
        expect(pair.digest("hosts", "stage1.h5") == job.digest("equal-1", "stage1.h5"), "two hosts: other bits")
        process = pair.start(2, pair.stage(1, "--watchdog", "3"), "hosts-cut")
        pair.wait_for_step(process, "hosts-cut", job.steps // 2)
        network.cut()
        start = time.monotonic()
        lines = []
        threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")), daemon=True).start()
        try:
            named = wait_for(
                lambda: [line for line in lines if "process 1 of 2 on host2" in line], 40, "host2 is not named")
        finally:
            # mpirun cannot reach the other host.
            for number in (1, 2):
                for member in found_in(f"bitsfusion{number}"):
                    os.kill(member, signal.SIGKILL)
        expect(len(named) == 1 and time.monotonic() - start > 2, f"found {lines}")
    job.run(1, job.stage(1, "--resume"), "hosts-cut")
    expect(job.digest("hosts-cut", "stage1.h5") == job.digest("equal-1", "stage1.h5"), "resumed: other bits")


CHECKS = [equal_bits, sweep, images, terminate, kill, stop, refusals, hosts]


def prepare(job):
    """The inputs of all checks: a recipe, the settings of both stages and of a teacher."""
    def run(*arguments):
        return subprocess.run(
            [job.program, *arguments], cwd=job.folder, check=True, capture_output=True, text=True).stdout

    root = pathlib.Path(__file__).resolve().parent.parent
    layers = [layer["path"] for layer in json.loads(run("info", "shapes", "--json"))["layers"]]
    recipe = [f"{path}: {8 if path in ('conv_in', 'conv_out') else 2}\n" for path in layers
              if "time_emb" not in path and not path.startswith("text_encoder.")]
    (job.folder / "recipe.txt").write_text("".join(recipe))
    settings = run("distill", "--stage", "1", "--model", "shapes", "--config", "shapes", "--print-config")
    settings = re.sub(r"batchSize: \d+", "batchSize: 8\n    microBatchSize: 2", settings)
    settings = re.sub(r"saveEvery: \d+", "saveEvery: 5", settings)
    (job.folder / "settings.yaml").write_text(settings)
    teacher = (root / "Configs" / "shapes.yaml").read_text()
    teacher = re.sub(r"batchSize: \d+", "batchSize: 8\n  microBatchSize: 2", teacher)
    (job.folder / "teacher.yaml").write_text(teacher)
    shutil.copy(root / "Configs" / "unet-shapes.json", job.folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--only", default="", help="a regular expression of the checks to run")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.random = random.Random(options.seed)

    os.environ.update(OPENMPI)
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        job = Job(options.program, [options.mpirun], folder, options.steps)
        prepare(job)
        for check in CHECKS:
            # Others compare with its files.
            if check is not equal_bits and not re.search(options.only, check.__name__):
                continue
            start = time.monotonic()
            try:
                check(job, options)
                result = "passed"
            except Skipped as reason:
                result = f"skipped: {reason}"
            except Failure as failure:
                failed.append(check.__name__)
                result = f"FAILED: {failure}"
            print(f"{check.__name__}: {result} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(failed)} checks failed" if failed else "all checks passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
