"""linear.py - the rules of test/support/linear.h, for histories recorded over HTTP and the Redis
protocol.

Keys that are written together are a *family*, and a history is of one family. Its state is a tuple:
of each key None, or (value, end), where end is the millisecond of wall time from which on it is
absent, 0 for never.

An operation (Op) says what it needs and what it puts, by the key's place in the family:

    needs  {place: what}   None: it is absent; a value: it is this one; ANY: it is there;
                           Not(value): it is absent or another one; OrNone(value): this one or absent
    puts   {place: cell}   what is stored then; None: nothing; ONE_MORE: the number after the one there
    rev    the number in Quern-Rev, or in JSON; None where there was none

It took effect at one moment between `began` and `ended`. One that is not `sure` got no answer before
`ended`, when its server ended: it took effect before that moment or never.

`check_family` searches an order that explains all operations (Wing and Gong, with a memory of the
configurations that led nowhere); `check_revs` looks at the numbers, over all families."""

class Word:
    def __init__(self, word):
        self.word = word

    def __repr__(self):
        return self.word


ANY, ONE_MORE = Word("any"), Word("one more")
NEVER = float("inf")


class Not:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"not {self.value}"


class OrNone:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"{self.value} or none"


class Op:
    def __init__(self, needs, puts, began, ended=NEVER, rev=None, sure=True, ms=(0, 0)):
        """`ms`: the wall clock at `began` and at `ended`."""
        self.needs, self.puts, self.began, self.ended = needs, puts, began, ended
        self.rev, self.sure, self.ms = rev, sure, ms

    def __repr__(self):
        return (f"[{self.began}, {self.ended}] ms {self.ms} needs {self.needs} puts {self.puts} "
                f"rev {self.rev}{'' if self.sure else ' perhaps'}")

    def may_be_gone(self, cell):
        return cell is None or 0 < cell[1] <= self.ms[1]

    def may_live(self, cell):
        return cell is not None and (cell[1] == 0 or self.ms[0] < cell[1])

    def is_met(self, cell, need):
        if need is None:
            return self.may_be_gone(cell)
        if isinstance(need, Not):
            return self.may_be_gone(cell) or cell[0] != need.value
        if isinstance(need, OrNone):
            return self.may_be_gone(cell) or cell[0] == need.value
        return self.may_live(cell) and (need is ANY or cell[0] == need)

    def done(self, state):
        """The state that it leaves; None: it cannot have been answered so in this one."""
        cells = list(state)
        for at, need in self.needs.items():
            if not self.is_met(cells[at], need):
                return None
            if need is None:
                cells[at] = None  # had it expired, it stays so
        for at, cell in self.puts.items():
            if cell is ONE_MORE:
                cell = (b"%d" % (1 if cells[at] is None else int(cells[at][0]) + 1), 0)
            cells[at] = cell
        return tuple(cells)

    def after(self, state):
        after = self.done(state)
        if after is not None:
            yield after
        if not self.sure and after != state:
            yield state  # it never took effect


def check_family(ops, keys=1):
    """None when there is an order, else what stands in the way. Nothing is there at first."""
    ops = sorted(ops, key=lambda op: op.began)
    ends = sorted(range(len(ops)), key=lambda i: ops[i].ended)
    seen, stack = set(), []
    taken, state, first_end, deepest = 0, (None,) * keys, 0, 0

    def choices(taken, first_end, state):
        """Operations that may come next, and the state after each."""
        limit = ops[ends[first_end]].ended
        for i in range((~taken & (taken + 1)).bit_length() - 1, len(ops)):
            if ops[i].began > limit:
                return
            if not taken >> i & 1:
                for after in ops[i].after(state):
                    yield i, after

    while taken != (1 << len(ops)) - 1:
        while taken >> ends[first_end] & 1:
            first_end += 1
        if first_end > deepest:
            deepest = first_end
        if not stack or stack[-1][0] != taken or stack[-1][1] != state:
            stack.append((taken, state, first_end, choices(taken, first_end, state)))
        for i, after in stack[-1][3]:
            if (taken | 1 << i, after) not in seen:
                seen.add((taken | 1 << i, after))
                taken, state = taken | 1 << i, after
                break
        else:
            stack.pop()
            if not stack:
                return told(ops, ends[deepest])
            taken, state, first_end = stack[-1][:3]
    return None


def told(ops, stuck):
    """Where no order leads on, and what was asked around that time."""
    near = [op for op in ops[max(0, stuck - 20):] if op.began <= ops[stuck].ended]
    return (f"no order explains it; stuck before the end of {ops[stuck]}; the last that began:\n" +
            "\n".join(map(str, near)))


def is_unique(value):
    """Those of counters come again."""
    return isinstance(value, bytes) and not value.isdigit()


def check_revs(ops):
    """Numbers of all families' operations: one to a write, rising with time, and told rightly by gets."""
    writes = [op for op in ops if op.puts and op.rev is not None]
    by_rev, highest, ended = {}, 0, sorted(writes, key=lambda op: op.ended)
    for op in writes:
        if op.rev in by_rev:
            return f"number {op.rev} was given twice: {by_rev[op.rev]}, {op}"
        by_rev[op.rev] = op
    at = 0
    for op in sorted(writes, key=lambda op: op.began):
        while at < len(ended) and ended[at].ended < op.began:
            highest = max(highest, ended[at].rev)
            at += 1
        if op.rev < highest:
            return f"the number of {op} is below {highest}, which was answered before it began"
    revs = {cell[0]: op.rev for op in writes for cell in op.puts.values()
            if cell not in (None, ONE_MORE) and is_unique(cell[0])}
    for op in ops:
        if not op.puts and op.rev is not None:
            for value in filter(is_unique, op.needs.values()):
                if revs.setdefault(value, op.rev) != op.rev:
                    return f"{op} came with number {op.rev}, not {revs[value]}"
    return None
