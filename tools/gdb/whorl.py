"""gdb commands that look into a whorl program, running or dead:

    (gdb) source tools/gdb/whorl.py
    (gdb) whorl tasks            every task of every loop: state, what it waits for, where it was
                                 spawned
    (gdb) whorl bt TASK          the stack of a suspended task; TASK is a number from that list, an
                                 address or a name
    (gdb) whorl bt all           of all of them

Nothing is called in the program and nothing changed in it, so core files do as well.
"""
import re

import gdb
import gdb.unwinder

# Where whi_switch leaves a stopped task's registers: see engine/arch/switch_*.S.
LAYOUTS = {
    "i386:x86-64": {
        "pc": ("rip", 56), "sp": ("rsp", 64 + 128),
        "others": {"r15": 8, "r14": 16, "r13": 24, "r12": 32, "rbx": 40, "rbp": 48},
    },
    "aarch64": {
        "pc": ("pc", 88), "sp": ("sp", 176),
        "others": {f"x{19 + i}": 8 * i for i in range(11)},
    },
}

STATES = ("ready", "running", "waiting", "ended")


def layout():
    name = gdb.selected_frame().architecture().name()
    if name not in LAYOUTS:
        raise gdb.GdbError(f"whorl: no context switch is known for {name}")
    return LAYOUTS[name]


def read_word(address):
    word = gdb.lookup_type("unsigned long")
    return int(gdb.Value(int(address)).cast(word.pointer()).dereference())


class StoppedTask(gdb.unwinder.Unwinder):
    """While `saved_sp` is set, the caller of the innermost frame is the task stopped there."""

    class FrameId:
        def __init__(self, sp, pc):
            self.sp, self.pc = sp, pc

    def __init__(self):
        super().__init__("whorl-stopped-task")
        self.saved_sp = None

    def __call__(self, pending):
        if self.saved_sp is None or pending.level() != 0:
            return None
        registers = LAYOUTS[pending.architecture().name()]
        values = {registers["pc"][0]: read_word(self.saved_sp + registers["pc"][1]),
                  registers["sp"][0]: self.saved_sp + registers["sp"][1]}
        for name, offset in registers["others"].items():
            values[name] = read_word(self.saved_sp + offset)
        here = {name: pending.read_register(name) for name in values}
        info = pending.create_unwind_info(self.FrameId(
            here[registers["sp"][0]], here[registers["pc"][0]]))
        for name, value in values.items():
            info.add_saved_register(name, gdb.Value(value).cast(here[name].type))
        return info


unwinder = StoppedTask()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)


def container_of(node, struct, member):
    kind = gdb.lookup_type(f"struct {struct}")
    offset = next(field.bitpos // 8 for field in kind.fields() if field.name == member)
    return (node.cast(gdb.lookup_type("char").pointer()) - offset).cast(kind.pointer())


def each_in_list(head, struct, member):
    node = head["next"]
    while node != head.address:
        yield container_of(node, struct, member)
        node = node["next"]


def tasks_below(scope):
    """Tasks have a scope of their own, so the tree of scopes holds all of them."""
    for child in each_in_list(scope["children"], "whi_scope", "link"):
        if child["own"]:
            yield child["owner"]
        yield from tasks_below(child.dereference())


def each_loop():
    """The loop of each thread that has one, by what the scheduler keeps in thread-local memory."""
    if not gdb.lookup_global_symbol("whi_sched_mine"):
        raise gdb.GdbError("whorl: this program is not built with whorl, or has no debug info")
    selected = gdb.selected_thread()
    loops = []
    try:
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            try:
                sched = gdb.parse_and_eval("whi_sched_mine")
            except gdb.error:
                continue
            if sched:
                loops.append(sched.cast(gdb.lookup_type("struct wh_loop").pointer()))
    finally:
        selected.switch()
    return sorted(loops, key=lambda loop: int(loop["index"]))


def all_tasks():
    return [task for loop in each_loop() for task in tasks_below(loop["sched"]["root"])]


def name_of(task):
    name = task["name"].string()
    return name if name else task["fn_name"].string()


def waits_for(task):
    return task["wait"]["what"].string() if task["wait"] else ""


def describe(number, task):
    sched = task["sched"]
    since_ms = (int(sched["now_ns"]) - int(task["since_ns"])) / 1e6
    state = STATES[int(task["state"])]
    detail = f"{waits_for(task)}, {since_ms:.0f} ms" if task["wait"] else ""
    return (f"{number:4} {int(task):#x} {name_of(task):23} {state:8} {detail:24} "
            f"{task['file'].string()}:{int(task['line'])}")


def find(word):
    tasks = all_tasks()
    if word == "all":
        return list(enumerate(tasks))
    found = [(number, task) for number, task in enumerate(tasks)
             if word in (str(number), f"{int(task):#x}", name_of(task))]
    if not found:
        raise gdb.GdbError(f"whorl: there is no task {word}; see whorl tasks")
    return found


def backtrace_text(task):
    """gdb's own backtrace, without the frame that we start from."""
    unwinder.saved_sp = int(task["context"]["sp"])
    width = gdb.parameter("width")
    gdb.execute("set width 0")
    gdb.invalidate_cached_frames()
    try:
        lines = gdb.execute("backtrace", to_string=True).splitlines()
    finally:
        unwinder.saved_sp = None
        gdb.invalidate_cached_frames()
        gdb.execute(f"set width {width if width else 0}")
    start = next((i for i, line in enumerate(lines) if line.startswith("#1 ")), len(lines))
    return [re.sub(r"^#(\d+) +", lambda match: f"#{int(match.group(1)) - 1:<3}", line)
            for line in lines[start:]]


class Whorl(gdb.Command):
    """Look into a whorl program."""

    def __init__(self):
        super().__init__("whorl", gdb.COMMAND_STATUS, prefix=True)


class WhorlTasks(gdb.Command):
    """List every task of every loop: state, what it waits for, where it was spawned."""

    def __init__(self):
        super().__init__("whorl tasks", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        number = 0
        for loop in each_loop():
            live = int(loop["sched"]["tasks_live"])
            print(f"loop {int(loop['index'])}: {live} task{'' if live == 1 else 's'}")
            for task in tasks_below(loop["sched"]["root"]):
                print(describe(number, task))
                number += 1


class WhorlBacktrace(gdb.Command):
    """Show the stack of a suspended task: whorl bt NUMBER, ADDRESS, NAME or all."""

    def __init__(self):
        super().__init__("whorl bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("whorl bt takes the number, address or name of a task, or all")
        layout()
        for number, task in find(argument):
            print(describe(number, task))
            if STATES[int(task["state"])] == "running":
                print("It runs: see its thread's own backtrace.")
                continue
            print("\n".join(backtrace_text(task)))


Whorl()
WhorlTasks()
WhorlBacktrace()
