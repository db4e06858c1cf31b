"""torch's tensors become plain data and come back with the same bits, whatever their dtype, shape and strides."""

from __future__ import annotations

import pytest
import torch

from replaykit.codec import Tensor, decode, encode
from replaykit.codec.tensor import ITEM_SIZE
from replaykit.errors import UnsupportedError
from replaykit.hf.tensors import DTYPES, plain_tensor, torch_tensor

ALL_DTYPES = sorted({value for value in vars(torch).values() if isinstance(value, torch.dtype)}, key=str)
CARRIED = [dtype for dtype in ALL_DTYPES if dtype in DTYPES.values()]
SHAPES = [(), (0,), (1,), (3, 0, 2), (2, 3), (2, 1, 4)]


def filled(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor whose bytes are all kinds of bytes: NaNs and infinities among them."""
    count = torch.Size(shape).numel()
    if dtype is torch.bool:
        return (torch.arange(count) % 3 == 0).reshape(shape)
    size_bytes = count * dtype.itemsize
    return (torch.arange(size_bytes) * 37 % 256).to(torch.uint8).view(dtype).reshape(shape)


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert bits(one) == bits(other)


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", CARRIED, ids=str)
def test_bits_come_back(dtype, shape):
    tensor = filled(dtype, shape)

    plain = decode(encode(plain_tensor(tensor)))

    assert plain.shape == shape
    assert plain.size_bytes == len(plain.data) == tensor.numel() * tensor.element_size()
    assert_same(torch_tensor(plain), tensor)


def test_the_dtypes_of_language_models_are_carried():
    needed = [
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "float8_e4m3fn",
        "float8_e5m2",
    ]
    assert set(needed) <= set(DTYPES)


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_the_size_of_an_element_is_torchs(name):
    assert ITEM_SIZE[name] == DTYPES[name].itemsize


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("dtype", [dtype for dtype in ALL_DTYPES if dtype not in CARRIED], ids=str)
def test_other_dtypes_are_refused(dtype):
    try:
        tensor = torch.empty(2, dtype=dtype)
    except (RuntimeError, NotImplementedError):
        pytest.skip(f"torch itself makes no {dtype} tensor")
    with pytest.raises(UnsupportedError, match="has no bytes to record"):
        plain_tensor(tensor)


BASE = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "tensor",
    [
        BASE.transpose(0, 2),
        BASE[:, 1],
        BASE[..., ::2],
        BASE[:, :1].expand(2, 5, 4),
        BASE.as_strided((3, 3), (1, 1)),
        BASE[1, 2, 3],
        BASE.unsqueeze(0).to(memory_format=torch.channels_last),
        BASE.clone().requires_grad_() * 2,
        torch.nn.Parameter(BASE),
        torch.complex(BASE, BASE + 1).conj(),
        torch.complex(BASE, BASE + 1).conj().imag,
        BASE.to(torch.bfloat16).mT,
    ],
    ids=lambda tensor: f"{tuple(tensor.shape)} strides {tensor.stride()}",
)
def test_strides_and_views_do_not_count(tensor):
    plain = plain_tensor(tensor)

    assert plain == plain_tensor(
        tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    )
    assert torch.equal(torch_tensor(plain), tensor.detach())


def test_a_snapshot_does_not_change_with_its_tensor():
    tensor = torch.zeros(3)
    plain = plain_tensor(tensor)

    tensor.fill_(7)

    assert torch.equal(torch_tensor(plain), torch.zeros(3))


def test_a_tensor_from_a_recording_may_be_written_to():
    plain = Tensor("int64", (2,), bytes(16))

    torch_tensor(plain).fill_(7)

    assert torch_tensor(plain).tolist() == [0, 0]


def test_inference_tensors_are_read():
    with torch.inference_mode():
        tensor = torch.ones(2)
    assert torch.equal(torch_tensor(plain_tensor(tensor)), torch.ones(2))


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(2, 2).to_sparse(), torch.zeros(2, device="meta")],
    ids=["sparse", "meta"],
)
def test_what_has_no_bytes_of_its_own_is_refused(tensor):
    with pytest.raises(UnsupportedError, match="has no bytes to record"):
        plain_tensor(tensor)


def test_repr_tells_dtype_and_shape():
    assert repr(plain_tensor(torch.zeros(2, 3, dtype=torch.bfloat16))) == "Tensor(bfloat16 [2, 3])"
