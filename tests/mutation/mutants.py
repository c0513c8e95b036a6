# SPDX-License-Identifier: Apache-2.0
"""Finds places in C++ sources where a bug can be planted behind a run-time switch.

It reads lines, not C++: the sources keep to one style (blanks round binary operators and none round angle brackets), and
what does not compile is left out by whoever builds it. At most one is planted in a line.
"""
import dataclasses
import random
import re

OPENING, CLOSING = "([{", ")]}"
EDGES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
PURE = re.compile(r"\+\+|--|[^=<>!]=[^=]|exchange|\bpop|erase|insert|take|fresh|add\(|draw")
NOT_CODE = re.compile(r"^\s*(//|#|\*|case |default:|using |template|static_assert|assert|constexpr|static |namespace|public|private)")


@dataclasses.dataclass
class Mutant:
    what: str
    path: str
    line: int  # from 1
    before: str
    after: str  # with {n} where its number goes

    def __str__(self):
        return f"{self.path}:{self.line}: {self.what}: {self.before.strip()}"


def balanced(text):
    depth = 0
    for c in text:
        depth += (c in OPENING) - (c in CLOSING)
        if depth < 0:
            return False
    return depth == 0


def closing(text, at):
    """Where what opens at `at` closes, or -1."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in OPENING) - (text[i] in CLOSING)
        if depth == 0:
            return i
    return -1


def extent(text, at, length, stops):
    """The operands of the operator there: where the left one begins and the right one ends, or None."""
    depth, begin = 0, 0
    for i in range(at - 1, -1, -1):
        depth += (text[i] in CLOSING) - (text[i] in OPENING)
        if depth < 0:
            begin = i + 1
            break
        if depth == 0:
            stop = next((s for s in stops if text.endswith(s, 0, i + 1)), None)
            if stop or text[i] in ",;":
                begin = i + 1
                break
    depth, end = 0, len(text)
    for i in range(at + length, len(text)):
        depth += (text[i] in OPENING) - (text[i] in CLOSING)
        if depth < 0 or (depth == 0 and (text[i] in ",;" or any(text.startswith(s, i) for s in stops))):
            end = i
            break
    while begin < at and text[begin] == " ":
        begin += 1
    left, right = text[begin:at].strip(), text[at + length:end].strip()
    for word in ("return ", "co_return ", "else "):
        if left.startswith(word):
            begin += len(word)
            left = left[len(word):]
    if not left or not right or not balanced(left) or not balanced(right) or "{" in left + right:
        return None
    if re.search(r"(&&|\|\||[-+*/<>=?:])$", right) or re.match(r"(&&|\|\||[?:])", left):
        return None
    return begin, end, left, right


def comparisons(code):
    for m in re.finditer(r" (<=|>=|==|!=|<|>) ", code):
        sign = m[1]
        found = extent(code, m.start(), len(m[0]), [" && ", " || ", " ? ", " : ", " = ", "return ", " &&", " ||"])
        if not found:
            continue
        begin, end, left, right = found
        first, second = f"{left} {sign} {right}", f"{left} {EDGES[sign]} {right}"
        what = "equal is unequal" if sign in ("==", "!=") else "edge moved"
        both = f"(::wye::planted::on({{n}}) ? {second} : {first})" if PURE.search(first) else \
               f"::wye::planted::instead({{n}}, {first}, {second})"
        yield what, code[:begin] + both + code[end:]


def connections(code):
    for m in re.finditer(r" (&&|\|\|) ", code):
        sign, other = m[1], "||" if m[1] == "&&" else "&&"
        stops = [" ? ", " : ", " = ", "return "] + ([" || ", " ||"] if sign == "&&" else [])
        found = extent(code, m.start(), len(m[0]), stops)
        if not found or (sign == "||" and "&&" in code):
            continue
        begin, end, left, right = found
        yield ("and is or" if sign == "&&" else "or is and",
               f"{code[:begin]}(::wye::planted::on({{n}}) ? ({left}) {other} ({right}) : ({left}) {sign} ({right})){code[end:]}")


def conditions(code):
    m = re.match(r"^(\s*(?:\} )?(?:else )?(?:if|while) )\(", code)
    if not m:
        return
    end = closing(code, m.end() - 1)
    inside = code[m.end():end]
    if end < 0 or ";" in inside or re.match(r"^(const |auto )?[\w:<>*& ]+[*& ]\w+ = ", inside):
        return
    yield "condition negated", f"{m[1]}(::wye::planted::on({{n}}) != static_cast<bool>({inside})){code[end + 1:]}"
    rest = code[end + 1:].strip()
    if m[1].strip() in ("if", "} else if", "else if") and rest.endswith(";"):
        yield "statement dropped", f"{m[1]}(({inside}) && !::wye::planted::on({{n}})){code[end + 1:]}"


def off_by_one(code):
    m = re.match(r"^(\s*[\w:<>*&. \[\]()>-]+ [-+]?= )(.+);$", code)
    value = m and m[2]
    if not m or not balanced(code) or value[0] in "[{\"*&!" or re.match(r"new |nullptr|\w+\{", value):
        return
    if re.match(r"^\s*(const )?auto\s*[&*]", m[1]) or re.match(r"^\s*[\w:]+ ?[&*]", m[1]) or "*const" in m[1]:
        return
    countable = re.search(r"\b(u?int\d+_t|size_t|bool)\b", m[1]) or re.search(r"[-+]= $", m[1]) or \
        re.search(r"\b(true|false|\d+)$|[\w)] [-+*/] [\w(]", value)
    if countable:
        yield "one more" if value not in ("true", "false") else "the opposite", f"{m[1]}::wye::planted::more({{n}}, {value});"


def results(code):
    m = re.match(r"^(.*\breturn )(.+);((?: \})?)$", code)
    if m and balanced(m[2]) and m[2][0] not in "{[" and not re.search(r"co_return", m[1]) and \
            re.search(r"\b(true|false)\b| (==|!=|<|>|<=|>=|&&|\|\||[-+*/]) |^!", m[2]) and "[" not in m[2]:
        yield "another result", f"{m[1]}::wye::planted::more({{n}}, {m[2]});{m[3]}"


def statements(code):
    m = re.match(r"^(\s+(?:else )?)((?:\+\+|--)[\w.\->\[\]()*]+;|(?!return|co_|delete|throw|if|for|while|switch)"
                 r"[a-z_*][\w.\->:\[\]()*&]*(?:\(.*\)| [-+^|&]?= .*);|return;|continue;)$", code)
    if m and balanced(code):
        yield "statement dropped", f"{m[1]}{{ if (!::wye::planted::on({{n}})) {{ {m[2]} }} }}"


def places(path, text, taken):
    """Everything that might be planted in this source, but not in the lines that are taken."""
    before = ";"
    for number, line in enumerate(text.splitlines(), 1):
        code = re.sub(r"\s+// .*$", "", line)
        begins = before[-1] in ";{})" or before.endswith(("else", ":"))
        if code.strip() and not NOT_CODE.match(code):
            before = code.rstrip()
        elif not code.strip() or code.lstrip().startswith("//"):
            continue
        else:
            before = code.rstrip()
            continue
        if number in taken or '"' in code or "constexpr" in code or "#" in code:
            continue
        for kind in (conditions, comparisons, connections, off_by_one, results, statements):
            if kind in (statements, off_by_one) and not begins:
                continue
            for what, after in kind(code):
                yield Mutant(what, path, number, line, after)


def everywhere(sources):
    """`sources`: path -> (text, lines taken)."""
    return [m for path, (text, taken) in sorted(sources.items()) for m in places(path, text, taken)]


def draw(sources, seed):
    """All, in an order that the seed decides, one for each line."""
    found, lines = everywhere(sources), {}
    random.Random(seed).shuffle(found)
    for m in found:
        lines.setdefault((m.path, m.line), m)
    return list(lines.values())


def like(sources, wanted):
    """What is nearest to each of (path, line, what, code): lines may have moved since."""
    found = everywhere(sources)
    drawn = {}
    for path, line, what, code in wanted:
        alike = [m for m in found if (m.path, m.what, m.before.strip()) == (path, what, code)]
        if alike:
            m = min(alike, key=lambda m: abs(m.line - line))
            drawn[m.path, m.line] = m
    return list(drawn.values())
