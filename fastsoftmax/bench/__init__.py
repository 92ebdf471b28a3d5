"""[5] The evidence: our kernels beside what others offer and beside this machine's own limits. Imports nothing heavy."""

import os

from . import session

NEEDED = ("matplotlib", "ml_dtypes", "rich", "tqdm")


def run(options):
    """`fastsoftmax bench` with its options -> exit status; a report in options.output, come what may."""
    from . import cases, compare, report, rivals

    session.need(NEEDED, "bench")
    if options.list:
        return _list()
    names = options.case or ([] if options.grid else [cases.DEFAULT_CASE])
    chosen = [_named(name, cases.CASES, "case") for name in names]
    if options.toy:
        chosen = [case.toy() for case in chosen]
    operations = [_named(name, cases.OPERATIONS, "operation") for name in options.operation or cases.OPERATIONS]
    contenders = rivals.select(options.rivals)
    old = compare.load(options.compare) if options.compare else None
    session.make_folder(options.output)
    kept = {name: value for name, value in vars(options).items() if name not in ("run", "command")}
    results = {"schema": compare.SCHEMA, "status": "interrupted", "options": kept, "cases": [], "sweeps": {}}
    run = _Run(results, options, chosen, operations, contenders)
    status = session.run(results, run.steps, lambda: report.write(results, options.output))
    print(f"\nreport ({results['status']}): {os.path.join(options.output, 'report.md')}", flush=True)
    if options.markdown:
        print("\n" + report.summary_markdown(results))
    return status or (_compare(results, old, options) if old else 0)


def _list():
    from . import cases, rivals

    print("cases (--case):")
    for case in cases.CASES.values():
        print(f"  {case.name:18}{case.describe()}")
    print("operations (--operation):")
    for operation in cases.OPERATIONS.values():
        print(f"  {operation.name:20}{operation.label}")
    print("contenders (--rivals; ours on a compiled backend take part always):")
    for rival in rivals.all_rivals():
        print(f"  {rival.name:16}{rival.label}" + (f": absent, {rival.absent}" if rival.absent else ""))
    return 0


def _named(name, table, kind):
    if name not in table:
        raise session.CommandError(f"no {kind} {name}; there are {', '.join(table)}")
    return table[name]


class _Run:
    """The steps of one command, each adding to `results`."""

    def __init__(self, results, options, cases, operations, contenders):
        self.results, self.options, self.cases = results, options, cases
        self.operations, self.contenders = operations, contenders
        self.how = {"rounds": options.rounds, "seed": options.seed}

    def steps(self, stop):
        """Everything in order; `stop` tells whether Ctrl-C was pressed."""
        from . import ceilings, machine

        self.results["machine"] = machine.stamp()
        print(machine.describe(self.results["machine"]))
        self.results["ceilings"] = ceilings.measure()
        print(ceilings.describe(self.results["ceilings"]), flush=True)
        for case in self.cases:
            self.case(case, stop)
        if self.cases and not self.options.no_sweeps:
            with session.progress(stop, "sweeps") as tell:
                self.sweeps(self.cases[0], self.results["sweeps"], tell)
        if self.options.grid:
            self.grid(stop)

    def case(self, case, stop):
        """Every operation on a case, each shown as soon as it is measured."""
        from . import measure, report

        found = measure.new_case(case, self.contenders)
        self.results["cases"].append(found)
        with session.progress(stop, f"{case.name}: memory", len(self.contenders)) as tell:
            extra = measure.memory_of(case, self.operations, self.contenders, tell)
        for operation in self.operations:
            with session.progress(stop, case.name, 1 + len(self.contenders) + self.options.rounds) as tell:
                done = measure.run_operation(found, case, operation, self.contenders, extra=extra, tell=tell, **self.how)
            report.print_operation(done, f"{case.name}: {case.describe()}")
            report.write_text(self.results, self.options.output)

    def sweeps(self, case, found, tell):
        """What the pictures show."""
        from . import sweeps

        measured = {o["name"]: o for o in self.results["cases"][0]["operations"]}.get(sweeps.SCALED.name)
        if measured:
            sweeps.classes(found.setdefault("classes", {}), case, self.contenders, measured, tell=tell, **self.how)
        sweeps.threads(found.setdefault("threads", {}), case, self.contenders, tell=tell, **self.how)
        few = [r for r in self.contenders if r.ours or r.name in sweeps.DTYPE_RIVALS]
        sweeps.dtypes(found.setdefault("dtypes", {}), case, few, tell=tell, **self.how)
        sweeps.small_call(found.setdefault("small_call", {}), self.contenders, tell=tell, **self.how)
        sweeps.first_call(found.setdefault("first_call", {}), self.contenders, tell)

    def grid(self, stop):
        """Every shape and dtype against the three that everybody has."""
        from . import grid

        found = self.results["grid"] = {}
        rivals = [r for r in self.contenders if r.ours or r.name in grid.RIVALS]
        with session.progress(stop, "grid", grid.n_cells(self.options.toy)) as tell:
            grid.run(found, rivals, tell=tell, toy=self.options.toy, **self.how)
        print(grid.describe(found), flush=True)


def _compare(results, old, options):
    from . import compare

    rows = compare.compare(old, results, options.margin)
    print(compare.describe(rows, options.margin), flush=True)
    return compare.REGRESSED if any(row[-1] for row in rows) else 0
