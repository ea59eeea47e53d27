"""A fake of ``tensorrt`` that computes with onnxruntime and keeps TensorRT's rules of order, thread and shape.

Public names are TensorRT's, and a test holds them against the real bindings. What a real plan is, this one is not:
it holds the ONNX file, with the version and the profile that it was built with.

FAKE_TENSORRT_VERSION, FAKE_TENSORRT_BUILD_S and FAKE_TENSORRT_FAULT (no_build, channels, late) make it another; after
"see:" a fault is only of the graph that takes pictures.
"""

import enum
import hashlib
import json
import os
import threading
import time

import numpy as np
import onnxruntime
from pycuda import driver as _cuda

__version__ = os.environ.get("FAKE_TENSORRT_VERSION", "10.3.0")

uint8 = "DataType.UINT8"
float32 = "DataType.FLOAT"

_MAGIC = b"fake plan\n"
_TYPES = {"tensor(uint8)": uint8, "tensor(float)": float32}


def _fault(graph="crops"):
    fault = os.environ.get("FAKE_TENSORRT_FAULT", "")
    return fault.removeprefix("see:") if graph == "picture" or not fault.startswith("see:") else ""


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self):
        pass

    def log(self, severity, msg):
        raise NotImplementedError


class IProgressMonitor:
    def __init__(self):
        pass

    def phase_start(self, phase_name, parent_phase, num_steps):
        raise NotImplementedError

    def step_complete(self, phase_name, step):
        raise NotImplementedError

    def phase_finish(self, phase_name):
        raise NotImplementedError


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class BuilderFlag(enum.IntEnum):
    TF32 = 7


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0


class TensorIOMode(enum.IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ErrorCode(enum.IntEnum):
    MODEL_DESERIALIZE_FAILED = 3


class ParserError:
    def code(self):
        return ErrorCode.MODEL_DESERIALIZE_FAILED

    def desc(self):
        return "Failed to parse the ONNX model."

    def node(self):
        return -1

    def node_operator(self):
        return ""


class INetworkDefinition:
    def __init__(self, flags):
        self._flags = flags
        self._model = None

    @property
    def num_outputs(self):
        return int(self._model is not None)


class OnnxParser:
    num_errors = 0

    def __init__(self, network, logger):
        self._network = network

    def parse(self, model):
        try:
            onnxruntime.InferenceSession(bytes(model), providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - onnxruntime's errors share no narrower base
            self.num_errors = 1
            return False
        self._network._model = bytes(model)
        return True

    def get_error(self, index):
        assert 0 <= index < self.num_errors
        return ParserError()


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        self._shapes[input] = [list(min), list(opt), list(max)]


class IBuilderConfig:
    progress_monitor = None

    def __init__(self):
        self._profiles = []
        self._flags = {BuilderFlag.TF32}
        self._pools = {}

    def set_memory_pool_limit(self, pool, pool_size):
        self._pools[pool] = pool_size

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def add_optimization_profile(self, profile):
        shapes = [sides for one in profile._shapes.values() for sides in zip(*one, strict=True)]
        ordered = all(low <= usual <= most for low, usual, most in shapes)
        if not ordered:
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1


class Builder:
    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags):
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        assert network._flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED, "precision stands in the graph"
        assert config._flags == set(), "TF32 is on until it is cleared"
        assert config._profiles, "a dynamic batch needs a profile"
        steps = 10
        config.progress_monitor.phase_start("Building", None, steps)
        for step in range(steps):
            time.sleep(float(os.environ.get("FAKE_TENSORRT_BUILD_S", "0")) / steps)
            if not config.progress_monitor.step_complete("Building", step):
                return None
        config.progress_monitor.phase_finish("Building")
        taken = next(iter(config._profiles[0]._shapes))
        if _fault(taken) == "no_build":
            self._logger.log(ILogger.Severity.ERROR, "Error Code 10: Could not find any implementation for node conv1")
            return None
        head = {
            "version": __version__,
            "profile": next(iter(config._profiles[0]._shapes.values())),
            "sha256": hashlib.sha256(network._model).hexdigest(),
        }
        return _MAGIC + json.dumps(head).encode() + b"\n" + network._model


class Runtime:
    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, plan):
        _cuda._require_context()
        try:
            magic, head, model = bytes(plan).split(b"\n", 2)
            fields = json.loads(head)
            assert magic + b"\n" == _MAGIC
            assert hashlib.sha256(model).hexdigest() == fields["sha256"]
        except (ValueError, AssertionError):
            self._logger.log(ILogger.Severity.ERROR, "Error Code 1: Serialization (Magic tag does not match)")
            return None
        if fields["version"] != __version__:
            self._logger.log(ILogger.Severity.ERROR, "Error Code 6: The engine plan file is not compatible")
            return None
        return ICudaEngine(model, fields["profile"])


class ICudaEngine:
    def __init__(self, model, profile):
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._profile = profile
        ends = [(TensorIOMode.INPUT, e) for e in self._session.get_inputs()]
        ends += [(TensorIOMode.OUTPUT, e) for e in self._session.get_outputs()]
        self._ends = {end.name: (mode, end) for mode, end in ends}

    @property
    def num_io_tensors(self):
        return len(self._ends)

    def get_tensor_name(self, index):
        return list(self._ends)[index]

    def get_tensor_mode(self, name):
        return self._ends[name][0]

    def get_tensor_dtype(self, name):
        return _TYPES[self._ends[name][1].type]

    def get_tensor_shape(self, name):
        return tuple(side if isinstance(side, int) else -1 for side in self._ends[name][1].shape)

    def create_execution_context(self):
        _cuda._require_context()
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine):
        self._engine = engine
        self._thread = threading.get_ident()
        self._shape = None
        self._addresses = {}

    def set_tensor_address(self, name, memory):
        _cuda._bytes_at(memory, 1)
        self._addresses[name] = memory
        return name in self._engine._ends

    def set_input_shape(self, name, shape):
        least, _, most = self._engine._profile
        if any(not low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            return False
        self._shape = tuple(shape)
        return True

    def infer_shapes(self):
        return [] if self._shape else list(self._engine._ends)[:1]

    def execute_async_v3(self, stream_handle):
        _cuda._require_context()
        assert threading.get_ident() == self._thread, "a context belongs to one thread"
        assert self._shape, "the shape of the input is not set"
        assert set(self._addresses) == set(self._engine._ends), "a tensor has no memory"
        _cuda._streams[stream_handle]._queue.append(self._run)
        return True

    def _run(self):
        taken, given = self._engine._ends
        dtype = {uint8: np.uint8, float32: np.float32}[self._engine.get_tensor_dtype(taken)]
        size = int(np.prod(self._shape)) * np.dtype(dtype).itemsize
        source = _cuda._bytes_at(self._addresses[taken], size).view(dtype).reshape(self._shape)
        if _fault(taken) == "channels":
            axis = 1 if taken == "picture" else -1
            source = np.ascontiguousarray(np.flip(source, axis))
        (found,) = self._engine._session.run([given], {taken: source})
        if _fault(taken) == "late" and len(found) > 33:  # right in small batches only
            found = found[::-1].copy()
        if _fault(taken) == "late" and taken == "picture" and source.shape[-1] > 96:  # right in small pictures only
            found = found[:, :, ::-1].copy()
        _cuda._bytes_at(self._addresses[given], found.nbytes)[:] = found.reshape(-1).view(np.uint8)
