"""model - what quern should do by its design, on n entries of 16 and 100 bytes.

History plays the rules of docs/design/50-compaction.md and of src/engine/pressure.c, a part of a
MemDB at a time: what is written, how many runs there are, how long writers wait. Model adds the
loads of memory and the blocks that a read needs. docs/benchmarks.md, "The model", says it in
words."""

import functools
import math
import os
import statistics
import sys

MIB = 1 << 20
ENTRY = 116  # bytes of key and value
BOTTOM = 7  # the tier


class Job:
    """A merge under way. `part` of it is done; so much of its sources is gone already."""

    def __init__(self, sources, before, result, ns):
        self.sources, self.before, self.result = sources, before, result
        self.ns, self.left = ns, ns

    @property
    def part(self):
        return 1 - self.left / self.ns


class History:
    """A store that is filled with n entries in shuffled order, then overwritten in passes.

    A run is {pass: part of the keys that it has of this pass}: keys of one pass differ, so parts of
    a pass add up; passes are shuffled, so what two passes have in common is chance."""

    STEPS = 4  # of a MemDB: how often the writer's pace is looked at anew

    def __init__(self, model, n, put):
        self.m, self.n, self.own = model, n, put
        self.tiers = [[] for _ in range(BOTTOM)]  # free runs
        self.bottom, self.jobs, self.memdb = {}, {}, {}
        self.full = 0.0  # part of the MemDB that is
        self.spare = 0.0  # ns that the worker has had and not used
        self.reset()

    def reset(self):
        self.clock = self.puts = self.flushed = self.merged = self.runs = self.flushes = 0.0

    # ---- sizes

    def entries(self, run):
        return self.n * (1 - math.prod(max(0.0, 1 - part) for part in run.values()))

    def bytes(self, run):
        return self.entries(run) * self.m.run_entry

    @staticmethod
    def union(runs):
        union = {}
        for run in runs:
            for number, part in run.items():
                union[number] = union.get(number, 0.0) + part
        return union

    def free_bytes(self):
        return sum(self.bytes(run) for runs in self.tiers for run in runs)

    def upper_bytes(self):
        found = self.free_bytes()
        for tier, job in self.jobs.items():
            found += (1 - job.part) * sum(self.bytes(run) for run in job.sources)
            if tier != BOTTOM:
                found += job.part * self.bytes(job.result)
        return found

    def bottom_entries(self):
        job = self.jobs.get(BOTTOM)
        if job is None:
            return self.entries(self.bottom)
        return job.part * self.entries(job.result) + (1 - job.part) * self.entries(job.before)

    def upper_runs(self):
        return sum(map(len, self.tiers)) + sum(len(job.sources) for job in self.jobs.values())

    # ---- pick.c

    def due_bytes(self):
        entries = self.bottom_entries()
        file = entries * self.m.bottom_entry
        due = 1.6 * entries * ENTRY - file - 5 * self.m.memdb
        return min(max(due, file / 4), file / 2)

    def over_bytes(self):
        fine = max(self.m.tier_runs * self.m.memdb, self.due_bytes())
        return max(0.0, self.upper_bytes() - fine)

    def can_wait(self, runs):
        """Will the merge into the bottom come before these are twice as many as a tier wants?"""
        if not self.bottom:
            return False
        left = max(0.0, self.due_bytes() - self.free_bytes())
        mean = sum(map(self.bytes, runs)) / len(runs)
        most = 2 * self.m.tier_runs
        return len(runs) <= most and int(left / mean) <= most - len(runs)

    def pick(self):
        """The tier whose job goes on, after beginning one if it is due; None: nothing to do."""
        wanted = self.m.tier_runs
        much = self.upper_bytes() >= self.due_bytes()
        many = self.upper_runs() >= wanted or self.over_bytes() > 0
        due = BOTTOM not in self.jobs and much and many
        if due and not self.jobs:
            return self.begin(BOTTOM)
        for tier in range(BOTTOM):
            free = self.tiers[tier]
            if tier in self.jobs:
                return tier
            if len(free) < wanted or (due and len(free) < 3 * wanted):
                continue
            if tier + 1 < BOTTOM and not self.can_wait(free):
                return self.begin(tier)
        return BOTTOM if BOTTOM in self.jobs else None

    def begin(self, tier):
        """A job is named by the tier that it empties; that of all tiers by the bottom."""
        emptied = self.tiers if tier == BOTTOM else [self.tiers[tier]]
        before = self.bottom if tier == BOTTOM else {}
        sources = [run for runs in emptied for run in runs]
        result = self.union([*sources, before])
        each = self.m.bottom_entry if tier == BOTTOM else self.m.run_entry
        written = self.entries(result) * each
        self.merged += written
        self.jobs[tier] = Job(sources, before, result, written * self.m.worker)
        for runs in emptied:
            runs.clear()
        return tier

    def end(self, tier):
        job = self.jobs.pop(tier)
        if tier == BOTTOM:
            self.bottom = job.result
        else:
            self.tiers[tier + 1].append(job.result)

    # ---- worker and writer

    def work(self):
        """Spend the worker's time on merges; what it cannot spend it idles away."""
        while self.spare > 0:
            tier = self.pick()
            if tier is None:
                self.spare = 0.0
                return
            used = min(self.spare, self.jobs[tier].left)
            self.spare -= used
            self.jobs[tier].left -= used
            if self.jobs[tier].left <= 0:
                self.end(tier)

    def slowness(self):
        """pressure.c: by how many times what a flush takes of each entry is it slowed?"""
        fine, slow = 2 * self.m.tier_runs, 0.0
        runs = len(self.tiers[0]) + (len(self.jobs[0].sources) if 0 in self.jobs else 0)
        if BOTTOM in self.jobs:
            runs += len(self.jobs[BOTTOM].sources)  # nearly all of them flushes
        if runs > fine:
            slow += min(4.0, 1 + (runs - fine) / fine)
        return slow + min(12.0, 8 * self.over_bytes() / self.m.memdb)

    def put(self, number, count):
        """`count` entries of pass `number`, at most a step."""
        flush_ns = self.m.run_entry * self.m.worker
        ns = count * (max(self.own, flush_ns) + self.slowness() * flush_ns)
        self.clock += ns
        self.spare += ns
        self.puts += count
        self.memdb[number] = self.memdb.get(number, 0.0) + count / self.n
        self.full += count * self.m.memdb_entry / self.m.memdb
        if self.full > 1 - 1e-9:
            self.flush()
        self.work()

    def flush(self):
        size = self.bytes(self.memdb)
        self.flushed += size
        self.spare -= size * self.m.worker
        self.tiers[0].append(self.memdb)
        self.memdb, self.full = {}, 0.0
        self.runs += 1 + self.upper_runs() + bool(self.bottom)
        self.flushes += 1

    def run_pass(self, number, count):
        step = self.m.memdb / self.m.memdb_entry / self.STEPS
        while count > 1e-6 * step:
            room = (1 - self.full) * self.m.memdb / self.m.memdb_entry
            now = min(step, count, room)
            self.put(number, now)
            count -= now

    def play(self, overwrites=0.0):
        """What the last of the two phases wrote, for each byte put, until the worker was done."""
        self.run_pass(0, self.n)
        self.settle()
        if overwrites > 0:
            self.reset()
            for number in range(1, math.ceil(overwrites / self.n) + 1):
                self.run_pass(number, min(self.n, overwrites - (number - 1) * self.n))
            self.settle()
        put = self.puts * ENTRY
        return {
            "flush": self.flushed / put,
            "merge": self.merged / put,
            "runs": self.runs / self.flushes if self.flushes else 1,
            "put": self.clock / self.puts,
        }

    def settle(self):
        self.spare = math.inf
        self.work()
        self.spare = 0.0


class Model:
    """quern as bench/sets.c and adapter_quern.c set it; with LZ4 at the bottom, or without."""

    def __init__(self, compressed, limits, changes):
        """`limits`: nanoseconds by name; `changes`: constants by name."""
        self.budget = 384 * MIB
        self.memdb = 64 * MIB
        self.tier_runs = 4
        self.memdb_entry = 165  # bytes of arena: header, entry, its share of half-full nodes
        self.log_entry = 144  # bytes of a record, of one put alone
        self.run_entry = 134.5  # bytes in a table, not compressed; filter and index in it
        self.bottom_entry = 82 if compressed else self.run_entry
        self.block_entry = 130  # bytes in a block of the cache
        self.segment = 16 * MIB
        self.ahead = 4 * MIB  # zeros before the writer
        self.segments = 7  # those of the MemDB that fills and of one being flushed
        self.block = 4096
        self.table_memory = 3.3  # bytes of index and filter in memory, an entry
        # The machine; quern-limits measures most of it.
        self.cores = os.cpu_count() or 1
        self.memory = 24e9  # of the machine: what holds the page cache
        self.write_back = 10  # seconds after which the kernel has written a dirty page of the log
        self.dependent = {32e3: 2, 1e6: 20, 32e6: 140, 256e6: 180, 1e9: 230}
        self.flight = {32e3: 1, 1e6: 3, 32e6: 16, 256e6: 20, 1e9: 26}
        self.disk_read = 120e3  # ns of a block at random
        self.block_read = 3000  # ns of a block in the page cache: a system call, a copy, a frame
        self.block_check = 280 + 770 * compressed  # ns: checksum and LZ4
        self.worker = 4.5  # ns of the worker for each byte it writes: reads, merges, checks, writes
        self.put = 1000  # ns of a put that nothing slows; the plots take what was measured
        self.take(compressed, limits)
        for name, value in changes.items():
            if not hasattr(self, name):
                sys.exit(f"plot: the model has no constant '{name}'")
            setattr(self, name, value)

    def take(self, compressed, limits):
        sizes = {"1M": 1e6, "32M": 32e6, "256M": 256e6, "1G": 1e9}
        for name, table in (("dependent", self.dependent), ("flight-32", self.flight)):
            for size, at in sizes.items():
                found = [limits.get(f"memory-{name}-{size}{pages}") for pages in ("", "-huge")]
                table[at] = min([ns for ns in found if ns], default=table[at])
        self.disk_read = limits.get("disk-random-4K", self.disk_read)
        if "xxh3-4K" in limits and "lz4-4K" in limits:
            self.block_check = limits["xxh3-4K"] + compressed * limits["lz4-4K"]

    @staticmethod
    def load(table, size):
        """ns of a load in a working set: straight lines over the logarithm of its size."""
        points = sorted(table.items())
        if size <= points[0][0]:
            return points[0][1]
        for (a, low), (b, high) in zip(points, points[1:]):
            if size <= b:
                return low + (high - low) * math.log(size / a) / math.log(b / a)
        return points[-1][1]

    # ---- bytes written, runs, and time of a put

    @functools.lru_cache(maxsize=None)
    def writes(self, n, overwrites=0, put=None):
        """Fill n entries, then overwrite: what the last phase wrote to the log, by flushes and by
        merges, each for a byte put; runs that a seek met; ns of a put, if it takes `put` by itself.
        Where between two merges the end falls is chance, so it is a mean over sizes near n."""
        near = []
        for part in (0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2):
            history = History(self, n * part, put or self.put)
            near.append(history.play(overwrites * part))
        w = {name: statistics.mean(found[name] for found in near) for name in near[0]}
        w["log"] = self.log_bytes(overwrites or n, not overwrites, w["put"])
        return w

    def log_bytes(self, puts, fresh, put):
        """For each byte put. A page counts when it becomes dirty. Segments go round: one that comes
        again while its pages are dirty costs nothing. A fresh store also fills some MiB ahead with
        zeros."""
        records = puts * self.log_entry
        ring = self.segments * self.segment * (1 + puts * put / 1e9 / self.write_back)
        return min(ring, records + fresh * min(records, self.ahead)) / (puts * ENTRY)

    def written(self, n, overwrites=0):
        w = self.writes(n, overwrites)
        return w["log"] + w["flush"] + w["merge"]

    # ---- misses of a lookup

    def hit(self, n):
        """The part of the blocks that the cache holds."""
        cache = self.budget * 7 / 8 - self.memdb - n * self.table_memory
        return min(1.0, max(0.0, cache / (n * self.block_entry)))

    def lines(self, n, with_filter):
        """Working sets of the cache lines that a lookup waits for, one after the other."""
        blocks = n * ENTRY / self.block
        lines = [1.25 * n] if with_filter else []
        heads = 8.0 * blocks
        while heads > 64:  # the index, from its last level up, eight heads a line
            lines.append(heads)
            heads /= 8
        lines.append(8.0 * blocks)  # the block's slot
        data = min(n * self.block_entry, self.budget)
        return lines + 4 * [data]  # heads, heads again, offset, entry

    def misses(self, n, near=1e6):
        """Lines of a get that no near cache holds, and blocks that the block cache does not."""
        return sum(size > near for size in self.lines(n, True)), 1 - self.hit(n)

    def block_ns(self, n):
        beyond = max(0.0, 1 - self.memory / (n * self.bottom_entry))
        return self.block_read + self.block_check + beyond * self.disk_read

    def lookup(self, n, table, with_filter=True):
        return sum(self.load(table, size) for size in self.lines(n, with_filter))

    # ---- ns of one operation; what does not depend on n is left to `constant`

    def variable(self, row, n):
        away, per_block = 1 - self.hit(n), self.block / self.block_entry
        if row == "readrandom":
            return self.lookup(n, self.dependent) + away * self.block_ns(n)
        if row == "multiget-32":
            return self.lookup(n, self.flight) + away * self.block_ns(n)
        if row == "seekrandom-10":
            blocks = 1 + 11 / per_block  # one run when settled; ten steps may leave the block
            return blocks * (self.lookup(n, self.dependent, False) + away * self.block_ns(n))
        if row == "readseq":
            # What is walked over in a circle, and does not fit, is gone when it is met again.
            return (away > 0) * self.block_ns(n) / per_block
        memdb = min(n * 8.0, 8.0 * self.memdb / self.memdb_entry)
        return 4 * self.load(self.dependent, memdb)  # leaf, its heads twice, a reference

    def curve(self, row, measured, sizes, ops):
        """ops a second at `sizes`; `measured` has those at some, `ops` how many puts were made."""
        smallest = min(measured)
        constant = max(0.0, 1e9 / measured[smallest] - self.variable(row, smallest))
        points = []
        for n in sizes:
            ns = constant + self.variable(row, n)
            if row in ("fillrandom", "overwrite"):
                ns = self.writes(n, ops(n) if row == "overwrite" else 0, ns)["put"]
            points.append((n, 1e9 / ns))
        return points

    def threads(self, row, measured, counts):
        """Reads share nothing that is written to; of writes the group's leader is the only one."""
        one = measured[min(measured)]
        return [(t, one * (min(t, self.cores) if row != "fillrandom" else 1)) for t in counts]
