"""linear.py - the rules of test/support/linear.h for one key, for histories recorded over HTTP.

An operation is [kind, began, ended, value, rev, sure]: kind "set" (value None: a delete) or "get";
times of one clock; rev the number in Quern-Rev, None where there is none. One that is not `sure` got
no answer before the server was killed at `ended`: it took effect before that moment or never.

`check_key` searches an order that explains all operations of a key (Wing and Gong, with a memory of
the configurations that led nowhere); `check_revs` looks at the numbers, over all keys."""


def check_key(ops, start=None):
    """None when there is an order, else what stands in the way. Values are unique."""
    ops = sorted(ops, key=lambda op: op[1])
    ends = sorted(range(len(ops)), key=lambda i: ops[i][2])
    seen, stack = set(), []
    taken, state, first_end, deepest = 0, start, 0, 0

    def choices(taken, first_end, state):
        """Operations that may come next, and the state after each."""
        limit = ops[ends[first_end]][2]
        for i in range((~taken & (taken + 1)).bit_length() - 1, len(ops)):
            kind, began, _, value, _, sure = ops[i]
            if began > limit:
                return
            if taken >> i & 1:
                continue
            if kind == "set":
                yield i, value
                if not sure:
                    yield i, state  # it never took effect
            elif value == state:
                yield i, state

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
                return f"no order explains it; stuck before the end of {ops[ends[deepest]]}"
            taken, state, first_end = stack[-1][:3]
    return None


def check_revs(ops):
    """Numbers of all keys' operations: one to a write, rising with time, and told rightly by gets."""
    writes = [op for op in ops if op[0] == "set" and op[4] is not None]
    by_rev, highest, ended = {}, 0, sorted(writes, key=lambda op: op[2])
    for op in writes:
        if op[4] in by_rev:
            return f"number {op[4]} was given twice: {by_rev[op[4]]}, {op}"
        by_rev[op[4]] = op
    at = 0
    for op in sorted(writes, key=lambda op: op[1]):
        while at < len(ended) and ended[at][2] < op[1]:
            highest = max(highest, ended[at][4])
            at += 1
        if op[4] < highest:
            return f"the number of {op} is below {highest}, which was answered before it began"
    revs = {op[3]: op[4] for op in writes if op[3] is not None}
    for op in ops:
        if op[0] == "get" and op[3] is not None and revs.setdefault(op[3], op[4]) != op[4]:
            return f"{op} came with number {op[4]}, not {revs[op[3]]}"
    return None
