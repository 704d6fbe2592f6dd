#!/usr/bin/env python3
"""cvc5 as a program: SMT-LIB commands on standard input, answers on standard output.

The Python package `cvc5` brings the solver as a library and no executable; this is the executable. It looks for the
package in `lib` beside itself. `(reset)` is answered with a fresh solver. `--tlimit-per=MS` bounds one answer;
other arguments are not needed and passed over.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import cvc5  # noqa: E402


def commands(lines):
    """Whole commands: text up to where every bracket outside strings, symbols and comments is closed."""
    text, depth, inside = "", 0, None
    for line in lines:
        for char in line:
            if inside:
                inside = None if char == inside else inside
            elif char in '"|':
                inside = char
            elif char == ";":
                inside = "\n"
            else:
                depth += (char == "(") - (char == ")")
        text += line
        if depth == 0 and inside is None and text.strip():
            yield text
            text = ""


def fresh(limit):
    solver = cvc5.Solver(cvc5.TermManager())
    if limit:
        solver.setOption("tlimit-per", limit)
    return solver, cvc5.SymbolManager(solver.getTermManager())


def main():
    limits = [arg.split("=", 1)[1] for arg in sys.argv[1:] if arg.startswith("--tlimit-per=")]
    limit = limits[-1] if limits else None
    solver, symbols = fresh(limit)
    for text in commands(sys.stdin):
        if text.strip() == "(reset)":
            solver, symbols = fresh(limit)
            continue
        try:
            parser = cvc5.InputParser(solver, symbols)
            parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "stdin")
            while (command := parser.nextCommand()) and not command.isNull():
                sys.stdout.write(command.invoke(solver, symbols))
        except RuntimeError as error:
            sys.stdout.write('(error "%s")\n' % " ".join(str(error).split()).replace('"', "'"))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
