"""What the package asks of torch's CUDA interface, which a CPU cannot run.

`CALLS` is the one place where every name of torch.cuda and of torch._C is written down
that the package uses, with the arguments that it passes. The source is held against it,
it is held against torch's own signatures, and the recorder runs on stand-ins that are
as strict as torch about types.
"""

import ast
import functools
import inspect
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import sklearn_unsup
from sklearn_unsup._nn.random import BatchGenerator
from sklearn_unsup._training import cuda_graphs
from sklearn_unsup._training.cuda_graphs import CudaGraph

ROOT = Path(__file__).parents[2]
SOURCES = sorted(Path(sklearn_unsup.__file__).parent.rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))

# Number of positional arguments and names of the others; None: not called. What has no
# signature in Python is in `IN_C`, with that of its source.
CALLS = {
    "torch.cuda.CUDAGraph": (0, ()),
    "torch.cuda.Stream": (1, ()),
    "torch.cuda.current_device": (0, ()),
    "torch.cuda.current_stream": (1, ()),
    "torch.cuda.default_generators": None,
    "torch.cuda.device_count": (0, ()),
    "torch.cuda.empty_cache": (0, ()),
    "torch.cuda.get_device_capability": (1, ()),
    "torch.cuda.graph": (3, ("capture_error_mode",)),
    "torch.cuda.graph_pool_handle": (0, ()),
    "torch.cuda.is_available": (0, ()),
    "torch.cuda.is_initialized": (0, ()),
    "torch.cuda.mem_get_info": (1, ()),
    "torch.cuda.stream": (1, ()),
    "torch.backends.cuda.matmul": None,
    "torch._C._cuda_endAllocateToPool": None,
    "torch._C._cuda_endAllocateCurrentStreamToPool": None,
    "torch._C._cuda_releasePool": (2, ()),
}
IN_C = {
    # (device index: int, pool: tuple of two int); the second until torch 2.7
    "torch._C._cuda_endAllocateToPool",
    "torch._C._cuda_endAllocateCurrentStreamToPool",
    "torch._C._cuda_releasePool",
}
# Methods of a graph, a stream and a generator.
METHODS = {
    "replay": (torch.cuda.CUDAGraph, 0),
    "reset": (torch.cuda.CUDAGraph, 0),
    "wait_stream": (torch.cuda.Stream, 1),
    # In C: takes a torch.Generator and nothing derived from it, gives one.
    "graphsafe_get_state": (torch.Generator, 0),
    "graphsafe_set_state": (torch.Generator, 1),
    "clone_state": (torch.Generator, 0),
    "get_state": (torch.Generator, 0),
    "set_state": (torch.Generator, 1),
}
ROOTS = "torch.cuda.", "torch._C.", "torch.backends.cuda."


def dotted(node):
    """A chain of attributes as text, or the same by `getattr`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    if isinstance(node, ast.Call) and dotted(node.func) == "getattr":
        before, name = dotted(node.args[0]), node.args[1]
        assert not f"{before}.".startswith(ROOTS) or isinstance(name, ast.Constant)
        return before and f"{before}.{getattr(name, 'value', '?')}"
    return None


def uses_in(source):
    """Name and call, if it is one, of all that the source uses of CUDA's interface."""
    tree = ast.parse(source)
    calls = {id(n.func): n for n in ast.walk(tree) if isinstance(n, ast.Call)}
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        name = dotted(node) if id(node) not in inner else None
        if name and name.startswith(ROOTS):
            yield name, calls.get(id(node))


@functools.cache
def uses_in_package():
    sources = [path.read_text("utf-8") for path in SOURCES]
    # The others cannot name it, and walking through all trees takes seconds.
    sources = [s for s in sources if "cuda" in s or "torch._C" in s]
    return [use for source in sources for use in uses_in(source)]


# ---------------------------------------------------------------------- the table


def test_every_call_is_in_the_table():
    assert {name for name, _ in uses_in_package()} == set(CALLS)


def test_the_source_calls_as_the_table_says():
    for name, call in uses_in_package():
        if call is not None:
            found = len(call.args), tuple(word.arg for word in call.keywords)
            assert found == CALLS[name], name


@pytest.mark.parametrize(
    "source",
    [
        "torch.cuda.made_up()",
        "getattr(torch._C, '_cuda_made_up')(1)",
        "torch.cuda.made_up",
        "x = torch.cuda.made_up(torch.cuda.stream)",
    ],
)
def test_the_search_finds_calls(source):
    """Else the two tests above would say nothing."""
    assert any("made_up" in name for name, _ in uses_in(source))


@pytest.mark.parametrize("name", [name for name in CALLS if name not in IN_C])
def test_torch_takes_these_arguments(name):
    thing = torch
    for part in name.split(".")[1:]:
        thing = getattr(thing, part)
    if CALLS[name] is not None:
        n_positional, keywords = CALLS[name]
        inspect.signature(thing).bind(*range(n_positional), **dict.fromkeys(keywords))


@pytest.mark.parametrize("name", METHODS)
def test_torch_has_these_methods(name):
    owner, n_positional = METHODS[name]
    method = getattr(owner, name)
    if owner is not torch.Generator:  # written in C, without a signature
        inspect.signature(method).bind(None, *range(n_positional))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_ask_for_what_there_is(path):
    for name, call in uses_in(path.read_text("utf-8")):
        thing = torch
        for part in name.split(".")[1:]:
            thing = getattr(thing, part)
        if call is not None:
            words = {word.arg: None for word in call.keywords}
            inspect.signature(thing).bind(*call.args, **words)


# ------------------------------------------------------------------ strict stand-ins


def take_generator(value):
    """Torch's own check, which a CPU build has as well; it then finds no CUDA."""
    with pytest.raises(NotImplementedError):
        torch.Generator().graphsafe_set_state(value)


class StateGenerator(BatchGenerator):
    """Has on a CPU what generators of CUDA have; counts its fresh states."""

    n_fresh = 0

    def graphsafe_get_state(self):
        return torch.Generator()

    def graphsafe_set_state(self, state):
        take_generator(state)
        self.n_fresh += 1


class Driver:
    """Stands in for torch.cuda and torch._C; notes what happens, fails when told."""

    def __init__(self, monkeypatch, fails=(), ended=False):
        self.fails, self.ended, self.log = fails, ended, []
        self.default = StateGenerator()
        stand_ins = {
            "CUDAGraph": self.CUDAGraph,
            "graph": self.graph,
            "graph_pool_handle": lambda: self.note("pool", (0, 1)),
            "current_stream": lambda device: torch.device(device) and "stream",
            "current_device": lambda: 3,
            "default_generators": (None, None, None, self.default),
        }
        for name, thing in stand_ins.items():
            monkeypatch.setattr(torch.cuda, name, thing)
        functions = {
            "_cuda_endAllocateToPool": self.end_allocate,
            "_cuda_releasePool": lambda index, pool: self.pool("release", index, pool),
        }
        for name, function in functions.items():
            monkeypatch.setattr(torch._C, name, function, raising=False)
        monkeypatch.setattr(cuda_graphs, "_failed_graphs", [])

    def note(self, event, result=None):
        self.log.append(event)
        if event in self.fails:
            raise RuntimeError(f"{event} failed")
        return result

    def pool(self, event, index, pool):
        assert (type(index), index, pool) == (int, 3, (0, 1))
        self.note(event)

    def end_allocate(self, index, pool):
        if self.ended:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.pool("end allocation", index, pool)

    def CUDAGraph(self):
        def register(generator):
            take_generator(generator)
            self.note("register")

        return SimpleNamespace(
            register_generator_state=register,
            replay=lambda: self.note("replay"),
            reset=lambda: self.note("reset"),
        )

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        assert (pool, stream) == ((0, 1), "stream")
        assert capture_error_mode in ("global", "thread_local", "relaxed")
        self.note("begin")
        try:
            yield
        finally:
            self.note("end")


def test_torch_takes_no_generator_of_ours():
    """What made the stand-ins below necessary."""
    take_generator(torch.Generator())
    with pytest.raises(TypeError, match="expected a Generator, but got BatchGenerator"):
        torch.Generator().graphsafe_set_state(BatchGenerator())


def test_a_recording_passes_the_types_that_torch_takes(monkeypatch):
    driver, generator = Driver(monkeypatch), StateGenerator()
    first = CudaGraph(lambda: "output", generator)
    assert driver.log == ["pool", "register", "begin", "end"]
    assert first.replay() == "output"
    second = CudaGraph(lambda: "other", generator, first)
    assert driver.log.count("pool") == 1
    assert second.pool == first.pool
    assert "reset" not in driver.log
    assert generator.n_fresh == driver.default.n_fresh == 0


def test_torch_may_find_generators_by_itself(monkeypatch, recwarn):
    """Newer versions: then registering is not there, or says that it does nothing."""
    driver = Driver(monkeypatch)
    made = driver.CUDAGraph

    def without():
        graph = made()
        del graph.register_generator_state
        return graph

    def warning():
        graph = made()
        graph.register_generator_state = lambda generator: warnings.warn(
            "does nothing", FutureWarning, stacklevel=1
        )
        return graph

    for graph in (without, warning):
        monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
        assert CudaGraph(lambda: "output", StateGenerator()).replay() == "output"
    assert "register" not in driver.log
    assert not recwarn


def failing(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize("error", [TypeError("in Python"), KeyboardInterrupt()])
def test_a_step_that_fails_leaves_the_allocator_to_torch(error, monkeypatch):
    """The recording ended as it should: one release more would end the process."""
    driver, generator = Driver(monkeypatch, ended=True), StateGenerator()
    with pytest.raises(type(error)) as caught:
        CudaGraph(failing(error), generator)
    assert caught.value is error
    assert driver.log == ["pool", "register", "begin", "end"]
    assert not cuda_graphs._failed_graphs
    assert generator.n_fresh == driver.default.n_fresh == 0


@pytest.mark.parametrize("stage", ["register", "begin", "end"])
@pytest.mark.parametrize("ended", [False, True])
def test_what_a_broken_recording_leaves_begun_is_ended(stage, ended, monkeypatch):
    """In versions of torch that do not, and once only in those that do."""
    driver, generator = Driver(monkeypatch, [stage], ended), StateGenerator()
    with pytest.raises(RuntimeError, match=f"{stage} failed"):
        CudaGraph(lambda: "output", generator)
    if stage == "register":  # nothing has begun
        assert driver.log == ["pool", "register"]
        return
    expected = ["reset"] if ended else ["reset", "end allocation", "release"]
    assert driver.log[-len(expected) :] == expected
    assert len(cuda_graphs._failed_graphs) == 1
    assert generator.n_fresh == driver.default.n_fresh == 1


@pytest.mark.parametrize("error", [TypeError("the cause"), KeyboardInterrupt()])
def test_the_first_failure_is_named(error, monkeypatch):
    """Not the end of the recording, which fails because of it."""
    driver, generator = Driver(monkeypatch, ["end"]), StateGenerator()
    with pytest.raises(type(error)) as caught:
        CudaGraph(failing(error), generator)
    assert caught.value is error
    assert driver.log[-1] == "release"
    assert generator.n_fresh == 1


def test_one_failure_in_cleaning_up_does_not_hide_the_reason(monkeypatch):
    driver = Driver(monkeypatch, ["end", "reset", "end allocation"])
    generator = StateGenerator()
    with pytest.raises(RuntimeError, match="end failed"):
        CudaGraph(lambda: "output", generator)
    assert "release" not in driver.log
    assert generator.n_fresh == 1
