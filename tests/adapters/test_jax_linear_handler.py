"""The handler of fastsoftmax.jax.linear_cross_entropy: its memory, its threads, its errors."""

import functools
import sys
import threading

import child
import numpy as np
import pytest

import fastsoftmax as fs

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402
from jax_layer import close, layer  # noqa: E402

import fastsoftmax.jax as fj  # noqa: E402

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.usefixtures("handler")
def test_a_gradient_is_one_call_of_the_handler_and_nothing_else(optimised):
    for dtype in ("float32", "bfloat16"):
        (f, w, _), y = layer(dtype)
        lowered = jax.jit(jax.value_and_grad(fj.linear_cross_entropy, (0, 1))).lower(f, w, y)
        assert "@fastsoftmax_linear(" in lowered.as_text() and "callback" not in lowered.as_text()
        program = lowered.compile().as_text()
        assert program.count("custom-call(") == 1
        assert not any(word in program for word in (" multiply(", " copy(", "fusion(", " convert("))


@pytest.mark.usefixtures("callback")
def test_without_a_handler_it_is_a_callback():
    (f, w, _), y = layer("float32")
    text = jax.jit(jax.grad(fj.linear_cross_entropy)).lower(f, w, y).as_text()
    assert "callback" in text and "fastsoftmax_linear" not in text


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nothing_is_copied_on_the_way(optimised, spy, dtype):
    (f, w, b), y = layer(dtype)
    function = jax.jit(jax.grad(lambda f, w, y, b: fj.linear_cross_entropy(f, w, y, bias=b), (0, 1, 3)))
    gradients = jax.block_until_ready(function(f, w, y, b))
    places = [(a.unsafe_buffer_pointer(), writeable) for arrays, writeable in (((f, w, y, b), False), (gradients, True))
              for a in arrays]
    assert spy == [places]


@pytest.mark.usefixtures("handler")
def test_donated_arrays(optimised):
    (f, w, _), y = layer("float32")
    right = jax.grad(fj.linear_cross_entropy, 1)(f, w, y)
    step = jax.jit(lambda f, w, y: w - jax.grad(fj.linear_cross_entropy, 1)(f, w, y), donate_argnums=1)
    close(step(f, jnp.array(w), y), w - right, rtol=0, atol=1e-6)
    same = jax.jit(jax.grad(fj.linear_cross_entropy, 1), donate_argnums=1)
    np.testing.assert_array_equal(same(f, w, y), right)


@pytest.mark.usefixtures("handler")
def test_frames_that_are_not_ours_are_refused():
    x = jnp.ones(3)
    for target in "fastsoftmax", "fastsoftmax_linear":
        call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct((), "float32"))
        for attributes in {}, dict(call=np.int64(3)), dict(call=np.ones(2)), dict(call="{}", more="{}"):
            with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match="not a call of this version of fastsoftmax"):
                jax.block_until_ready(call(x, **attributes))
    for text, error in ("{}", "KeyError: 'options'"), ("\N{SNOWMAN}", "line 1 column 1"):
        with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=error):
            jax.block_until_ready(call(x, call=text))
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match="dtype that fastsoftmax does not know"):
        jax.block_until_ready(call(x > 0, call="{}"))


def test_an_exported_program_runs_where_nothing_was_traced(tmp_path):
    pytest.importorskip("flatbuffers")
    from jax import export

    if fj.calls.handler() is None:
        pytest.skip("no compiler: the handler for XLA is not built")
    (f, w, _), y = layer("float32")
    checks = [export.DisabledSafetyCheck.custom_call("fastsoftmax_linear")]
    exported = export.export(jax.jit(fj.linear_cross_entropy), disabled_checks=checks)(f, w, y)
    (tmp_path / "program").write_bytes(exported.serialize())
    np.savez(tmp_path / "arrays.npz", f, w, y)
    code = """
import sys, pathlib, numpy, fastsoftmax.jax
from jax import export
folder = pathlib.Path(sys.argv[1])
program = export.deserialize(bytearray((folder / "program").read_bytes()))
print(float(program.call(*numpy.load(folder / "arrays.npz").values())))
"""
    process = child.start(code, str(tmp_path))
    exit_code, out, error = child.end(process)
    assert exit_code == 0, error
    assert np.float32(out) == fj.linear_cross_entropy(f, w, y)


# ------------------------------------------------------------------------------------------------ threads


def test_many_threads_at_once(route):
    """Neither way in waits for a lock that it holds itself, while this thread holds the GIL as often as it can."""
    (f, w, _), y = layer("float32")
    function = jax.jit(jax.value_and_grad(fj.linear_cross_entropy, (0, 1)))
    late = jax.jit(lambda f, w, y, m: fj.linear_cross_entropy(f + 0 * (m @ m).sum(), w, y))
    rows = jax.jit(lambda f, w, y: jax.lax.map(lambda a: fj.linear_cross_entropy(a[0], w, a[1]), (f, y)))
    matrix = jnp.ones((300, 300))
    right, failures = jax.block_until_ready((function(f, w, y), late(f, w, y, matrix), rows(f, w, y))), []

    def work():
        for _ in range(10):
            ahead = [late(f, w, y, matrix) for _ in range(3)]
            got = jax.block_until_ready((function(f, w, y), ahead[0], rows(f, w, y)))
            if not all(jax.tree.leaves(jax.tree.map(np.array_equal, got, right))):
                failures.append(got)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not failures and not any(worker.is_alive() for worker in workers)


def run_slowly(body):
    """What a process prints whose linear layer takes a while."""
    code = f"""
import sys, threading, time, warnings
import jax, numpy as np
from jax import numpy as jnp
import fastsoftmax as fs, fastsoftmax.jax as fj

once = fs.linear_cross_entropy
def slow(*arrays, **options):
    within()
    return once(*arrays, **options)
fs.api_linear.linear_cross_entropy = slow
function = jax.jit(fj.linear_cross_entropy)
f, w, y = jnp.ones((4, 8)), jnp.ones((30, 8)), jnp.arange(4)
{body}
"""
    return child.run(code, FASTSOFTMAX_BACKEND="cython")


@pytest.mark.usefixtures("handler")
def test_python_ends_after_the_calls_under_way():
    body = """
started = threading.Event()
def within():
    started.set()
    time.sleep(0.3)
    print("computed", flush=True)
matrix = jnp.ones((1000, 1000))
late = jax.jit(lambda f, w, y, m: fj.linear_cross_entropy(f + 0 * (m @ m).sum(), w, y))(f, w, y, matrix)
started.wait(60)
"""
    assert run_slowly(body) == "computed\n"


@pytest.mark.usefixtures("handler")
def test_control_c_within_a_call_is_control_c():
    body = """
import signal
def within():
    signal.raise_signal(signal.SIGINT)
try:
    function(f, w, y).block_until_ready()
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
within = lambda: None
print(function(f, w, y))
"""
    assert run_slowly(body).startswith("interrupted\n3.4")


@pytest.mark.usefixtures("handler")
def test_two_devices():
    code = """
import jax, numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import fastsoftmax.jax as fj

f, w, y = jnp.cos(jnp.arange(32.0)).reshape(4, 8), jnp.sin(jnp.arange(240.0)).reshape(30, 8), jnp.arange(4)
right = fj.linear_cross_entropy(f, w, y, reduction="none")
function = lambda f, y: fj.linear_cross_entropy(f, w, y, reduction="none")
mesh = Mesh(np.array(jax.devices()), ("rows",))
if hasattr(jax, "shard_map"):
    shard_map, unchecked = jax.shard_map, dict(check_vma=False)
else:
    from jax.experimental.shard_map import shard_map
    unchecked = dict(check_rep=False)
split = jax.jit(shard_map(function, mesh=mesh, in_specs=P("rows"), out_specs=P("rows"), **unchecked))
place = NamedSharding(mesh, P("rows"))
gathered = jax.jit(function)(jax.device_put(f, place), jax.device_put(y, place))
for _ in range(10):
    got = split(f, y)
print(jax.device_count(), np.array_equal(got, right), np.array_equal(gathered, right))
"""
    assert child.run(code, XLA_FLAGS="--xla_force_host_platform_device_count=2") == "2 True True\n"


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize(("error", "text"), [
    (MemoryError("72 GiB"), "RESOURCE_EXHAUSTED: MemoryError: 72 GiB"), (ValueError("so"), "INVALID_ARGUMENT: so"),
    (RuntimeError("\N{SNOWMAN}" * 2000), r"INTERNAL: RuntimeError: (\\u2603){100}"), (SystemExit(3), "SystemExit: 3"),
    (type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})(), "INTERNAL: an error that cannot be told")])
def test_what_goes_wrong_is_an_error_with_its_text(monkeypatch, error, text):
    def broken(*_, **__):
        raise error

    (f, w, _), y = layer("float32")
    function = jax.jit(fj.linear_cross_entropy)
    monkeypatch.setattr(fs.api_linear, "linear_cross_entropy", broken)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=text):
        jax.block_until_ready(function(f, w, y))
    monkeypatch.undo()
    close(function(f, w, y), fs.linear_cross_entropy(f, w, y))


def test_a_wrong_label_is_named(route):
    (f, w, _), y = layer("float32")
    rows = functools.partial(fj.linear_cross_entropy, reduction="none")
    for function in (fj.linear_cross_entropy, jax.jit(jax.grad(fj.linear_cross_entropy)), jax.jit(rows)):
        for _ in range(2):
            with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=r"labels\[1, 2\] is 30, outside \[0, 30\)"):
                jax.block_until_ready(function(f, w, y.at[1, 2].set(30)))
            jax.block_until_ready(function(f, w, y))


def test_linear_errors():
    (f, w, _), y = layer("float32")
    with pytest.raises(ValueError, match=r"features have shape \(2, 3, 8\), but must have \(..., 7\)"):
        fj.linear_cross_entropy(f, w[:, :7], y)
    with pytest.raises(ValueError, match=r"labels has shape \(3,\), but must have \(2, 3\)"):
        fj.linear_cross_entropy(f, w, y[0])
    with pytest.raises(ValueError, match="max_workspace_bytes is 1, but the least"):
        jax.block_until_ready(fj.linear_cross_entropy(f, w, y, max_workspace_bytes=1))
