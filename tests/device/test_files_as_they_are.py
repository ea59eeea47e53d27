"""Files as laboratories have them: read as they say of themselves, or refused by the name of what they are."""

import os
import struct
import zlib
from contextlib import closing

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from fnrbc_device.camera.folder import look_through, natural_key
from fnrbc_device.camera.headers import UnreadablePictureError, about_file
from fnrbc_device.camera.pictures import PictureReader, upright_image
from fnrbc_device.camera.pixel_size import require_known_pixel_size
from fnrbc_device.camera.replay import open_source
from fnrbc_device.errors import ConfigError, SourceError, UsageError
from fnrbc_device.records import BadFrame, Frame

COMPOSITE = {"axes": "CYX", "mode": "composite"}


def scene(seed=0, shape=(96, 128)):
    """A colourful picture without a symmetry, with its brightest value in it."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), shape[::-1], interpolation=cv2.INTER_CUBIC)
    picture[0, 0] = 255
    return picture


def planes(rgb):
    return np.ascontiguousarray(np.moveaxis(rgb, -1, 0))


def read_all(path, **how):
    with closing(open_source(path, 0.125, **how)) as source:
        return list(iter(source.read, None))


def images(path):
    return [frame.image for frame in read_all(path) if isinstance(frame, Frame)]


RGB = scene(3)
DEEP = RGB.astype(np.uint16) * 257
READ_AS_RGB = {
    "plain": (RGB, {"photometric": "rgb"}),
    "planar": (planes(RGB), {"photometric": "rgb", "planarconfig": "separate"}),
    "planar, 16 bits": (planes(DEEP), {"photometric": "rgb", "planarconfig": "separate"}),
    "16 bits, Deflate, predictor": (DEEP, {"photometric": "rgb", "compression": "deflate", "predictor": True}),
    "LZW": (RGB, {"photometric": "rgb", "compression": "lzw"}),
    "PackBits": (RGB, {"photometric": "rgb", "compression": "packbits"}),
    "ZSTD in tiles": (RGB, {"photometric": "rgb", "compression": "zstd", "tile": (32, 32)}),
    "JPEG 2000": (RGB, {"photometric": "rgb", "compression": "jpeg2000"}),
    "LZMA": (RGB, {"photometric": "rgb", "compression": "lzma"}),
    "transparency": (np.dstack([RGB, RGB[..., 0]]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "two extra samples": (np.dstack([RGB, RGB[..., :2]]), {"photometric": "rgb"}),
    "ImageJ composite": (planes(RGB), {"imagej": True, "metadata": COMPOSITE}),
    "ImageJ composite, 16 bits": (planes(DEEP), {"imagej": True, "metadata": COMPOSITE}),
    "OME, channels as pages": (planes(RGB), {"ome": True, "metadata": {"axes": "CYX"}}),
    "big-endian BigTIFF": (DEEP, {"photometric": "rgb", "bigtiff": True, "byteorder": ">"}),
}


@pytest.mark.parametrize("kind", READ_AS_RGB)
def test_a_tiff_is_read_in_the_colours_that_it_holds(tmp_path, kind):
    samples, how = READ_AS_RGB[kind]
    tifffile.imwrite(tmp_path / "a.tif", samples, **how)
    (image,) = images(tmp_path / "a.tif")
    assert np.array_equal(image, RGB)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_white_is_zero_is_no_negative(tmp_path, bits):
    full = 2**bits - 1
    grey = np.rint(RGB[..., 1] / 255 * full).astype(np.uint8 if bits == 8 else np.uint16)
    packed = {"bitspersample": bits} if bits == 12 else {}
    try:
        tifffile.imwrite(tmp_path / "a.tif", (full - grey).astype(grey.dtype), photometric="miniswhite", **packed)
    except NotImplementedError:
        pytest.skip("the imagecodecs of Python 3.10 writes no packed bits; reading them is tried with later ones")
    (image,) = images(tmp_path / "a.tif")
    assert np.abs(image[..., 0].astype(int) - RGB[..., 1]).max() <= 1


def test_white_is_zero_of_one_bit_is_no_negative(tmp_path):
    ink = RGB[..., 1] < 128
    tifffile.imwrite(tmp_path / "a.tif", ink, photometric="miniswhite")
    (image,) = images(tmp_path / "a.tif")
    assert np.array_equal(image[..., 0], np.where(ink, 0, 255))


def test_a_palette_is_followed(tmp_path):
    Pillow.fromarray(RGB).quantize(64).save(tmp_path / "a.tif")
    (image,) = images(tmp_path / "a.tif")
    assert np.array_equal(image, np.asarray(Pillow.open(tmp_path / "a.tif").convert("RGB")))


def test_imagej_shows_which_channel_is_which_colour_by_its_tables(tmp_path):
    ramp, none = np.arange(256, dtype=np.uint8), np.zeros(256, np.uint8)
    luts = [np.stack([none, none, ramp]), np.stack([none, ramp, none]), np.stack([ramp, none, none])]  # blue first
    tifffile.imwrite(tmp_path / "a.tif", planes(RGB[..., ::-1]), imagej=True, metadata={**COMPOSITE, "LUTs": luts})
    (image,) = images(tmp_path / "a.tif")
    assert np.array_equal(image, RGB)


STACKS = {
    "pages": {"photometric": "rgb", "metadata": None},
    "ImageJ": {"imagej": True, "metadata": {"axes": "TYXS"}},
    "OME": {"ome": True, "photometric": "rgb", "metadata": {"axes": "TYXS"}},
    "BigTIFF": {"photometric": "rgb", "bigtiff": True, "compression": "lzw"},
}


@pytest.mark.parametrize("kind", STACKS)
def test_a_stack_is_as_many_frames_as_it_has_pages(tmp_path, kind):
    truth = [scene(seed) for seed in range(20)]
    tifffile.imwrite(tmp_path / "stack.tif", np.stack(truth), **STACKS[kind])
    frames = read_all(tmp_path / "stack.tif")
    assert [frame.name for frame in frames[:2]] == ["stack.tif#0", "stack.tif#1"]
    assert len(frames) == 20
    assert all(np.array_equal(frame.image, one) for frame, one in zip(frames, truth, strict=True))


def test_a_composite_stack_is_a_frame_a_time(tmp_path):
    truth = [scene(seed) for seed in range(5)]
    samples = np.stack([planes(one) for one in truth])
    tifffile.imwrite(tmp_path / "a.tif", samples, imagej=True, metadata={"axes": "TCYX", "mode": "composite"})
    assert all(np.array_equal(a, b) for a, b in zip(images(tmp_path / "a.tif"), truth, strict=True))


def test_a_stack_behind_a_single_page_is_read_whole(tmp_path):
    truth = np.stack([scene(seed)[..., 1] for seed in range(4)])
    tifffile.imwrite(tmp_path / "a.tif", truth, imagej=True, metadata={"axes": "TYX"})
    data = bytearray((tmp_path / "a.tif").read_bytes())
    (at,) = struct.unpack("<I", data[4:8])
    (entries,) = struct.unpack("<H", data[at : at + 2])
    data[at + 2 + 12 * entries : at + 6 + 12 * entries] = bytes(4)  # as ImageJ writes what exceeds 4 GB: one page
    (tmp_path / "a.tif").write_bytes(data)
    found = images(tmp_path / "a.tif")
    assert len(found) == 4
    assert all(np.array_equal(image[..., 0], grey) for image, grey in zip(found, truth, strict=True))


def test_a_smaller_copy_of_the_picture_is_no_frame(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    assert len(read_all(tmp_path / "a.tif")) == 1


def test_a_damaged_page_costs_that_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([RGB] * 3), photometric="rgb", compression="zlib", metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        begin = tif.pages[1].dataoffsets[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[begin : begin + 64] = bytes(64)
    (tmp_path / "a.tif").write_bytes(data)
    outcomes = [getattr(frame, "reason", "good") for frame in read_all(tmp_path / "a.tif")]
    assert outcomes == ["good", "unreadable", "good"]


def lossless_jpeg(path):
    data = bytearray(cv2.imencode(".jpg", RGB)[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 1] = 0xC3
    path.write_bytes(data)


def animated_png(path):
    Pillow.fromarray(RGB).save(path, save_all=True, append_images=[Pillow.fromarray(scene(4))])


def places():
    return (RGB[..., 0] // 8).astype(np.uint8)


def changed_tag(path, samples, code, value, **how):
    """A TIFF one tag of which says something else than its writer meant."""
    tifffile.imwrite(path, samples, metadata=None, **how)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tag = tif.pages[0].tags[code]
        tag.overwrite(tuple(value) * 3 if isinstance(value, range) else value)


def circle(path):
    """Two pages, the second of which names the first as the next."""
    tifffile.imwrite(path, np.stack([RGB] * 2), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as tif:
        first, last = (page.offset for page in tif.pages)
        tags = len(tif.pages[1].tags)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, last + 2 + 12 * tags, first)
    path.write_bytes(data)


def promises(path, compression, before, by):
    """A TIFF whose one part says in its own header to be thousands of pixels wide."""
    tifffile.imwrite(path, RGB, photometric="rgb", compression=compression, metadata=None)
    data = bytearray(path.read_bytes())
    data[data.index(before) + by] = 0x43
    path.write_bytes(data)


REFUSED = {
    "CMYK JPEG": (lambda p: Pillow.fromarray(RGB).convert("CMYK").save(p), ".jpg", "CMYK"),
    "CMYK TIFF": (lambda p: Pillow.fromarray(RGB).convert("CMYK").save(p), ".tif", "CMYK"),
    "CIELab TIFF": (lambda p: Pillow.fromarray(RGB).convert("LAB").save(p), ".tif", "CIELab"),
    "fractions": (lambda p: tifffile.imwrite(p, RGB.astype(np.float32), photometric="rgb"), ".tif", "float32"),
    "32 bits": (lambda p: tifffile.imwrite(p, RGB[..., 0].astype(np.uint32)), ".tif", "uint32"),
    "signed": (lambda p: tifffile.imwrite(p, RGB[..., 0].astype(np.int16)), ".tif", "int16"),
    "two channels": (
        lambda p: tifffile.imwrite(p, planes(RGB)[:2], imagej=True, metadata=COMPOSITE), ".tif", "2 channels",
    ),
    "named channels": (
        lambda p: tifffile.imwrite(
            p, planes(RGB), ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "Cy5"]}}
        ), ".tif", "dapi, fitc, cy5",
    ),
    "colours unsaid": (
        lambda p: tifffile.imwrite(p, RGB, photometric="minisblack", planarconfig="contig"), ".tif", "nothing says",
    ),
    "colours in an unknown order": (lambda p: changed_tag(p, RGB, 284, 9, photometric="rgb"), ".tif", "says 9 of how"),
    "no height": (lambda p: changed_tag(p, RGB[..., 0], 257, 0), ".tif", "TIFF"),
    "more parts than a picture has": (
        lambda p: changed_tag(p, RGB, 323, 4096, photometric="rgb", tile=(32, 32)), ".tif", "more parts",
    ),
    "pages in a circle": (circle, ".tif", "circle"),
    "JPEG 2000 that promises more": (lambda p: promises(p, "jpeg2000", b"\xff\x4f\xff\x51", 8), ".tif", "are said"),
    "JPEG that promises more": (lambda p: promises(p, "jpeg", b"\xff\xc0", 7), ".tif", "are said"),
    "palette of 8 bits in 16": (lambda p: changed_tag(p, places(), 320, range(256), photometric="palette",
        colormap=np.zeros((3, 256), np.uint16)), ".tif", "all black"),
    "codec": (lambda p: tifffile.imwrite(p, RGB, photometric="rgb", compression="lerc"), ".tif", "LERC"),
    "raw mosaic": (lambda p: tifffile.imwrite(p, DEEP[..., 0], photometric="cfa"), ".tif", "raw mosaic"),
    "lossless JPEG": (lossless_jpeg, ".jpg", "lossless JPEG"),
    "animation": (animated_png, ".png", "animated PNG of 2 frames"),
    "WebP called JPEG": (lambda p: Pillow.fromarray(RGB).save(p, "WEBP"), ".jpg", "WebP"),
    "GIF called PNG": (lambda p: Pillow.fromarray(RGB).save(p, "GIF"), ".png", "GIF"),
    "HEIC called JPEG": (lambda p: p.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)), ".jpg", "HEIC"),
    "web page called TIFF": (lambda p: p.write_bytes(b"<html>" + bytes(99)), ".tif", "no picture that can be read"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_refused_by_name(tmp_path, kind):
    make, suffix, words = REFUSED[kind]
    path = tmp_path / f"a{suffix}"
    make(path)
    with pytest.raises(UnreadablePictureError, match=words) as refused:
        PictureReader().read(path)
    assert str(refused.value).startswith(path.name)
    assert "\n" not in str(refused.value)


def test_a_header_that_promises_more_than_the_file_can_hold_takes_no_memory(tmp_path):
    body = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    data = head + struct.pack(">I4s", 4, b"IDAT")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UnreadablePictureError, match="60000x60000 px, more than its 41 bytes can hold"):
        about_file(tmp_path / "a.png")


@pytest.mark.parametrize("colours", ["L", "LA", "P", "RGB", "RGBA", "1", "I;16"])
def test_png_is_read_as_pillow_reads_it(tmp_path, colours):
    picture = Pillow.fromarray(RGB).convert("L" if colours == "I;16" else colours)
    if colours == "I;16":
        picture = Pillow.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    picture.save(tmp_path / "a.png")
    (image,) = images(tmp_path / "a.png")
    truth = np.asarray(picture) // 257 if colours == "I;16" else np.asarray(picture.convert("RGB"))
    assert np.array_equal(image[..., 0], truth if truth.ndim == 2 else truth[..., 0])


# The folder decides, not its first file


def write(folder, pictures, form="{:03d}.png"):
    folder.mkdir(exist_ok=True)
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / form.format(index)), picture if picture.ndim == 2 else picture[..., ::-1])
    return folder


@pytest.mark.parametrize("brightest_first", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.3, 0.6])
def test_a_dim_pan_of_12_bits_has_one_depth_in_all_its_frames(tmp_path, share, brightest_first):
    pan = [(scene(seed).astype(float) / 255 * 4095 * share * (0.5 + seed / 19)).astype(np.uint16) for seed in range(20)]
    folder = write(tmp_path / "pan", pan[::-1] if brightest_first else pan)
    found = images(folder)
    ratios = [
        image[picture > 100].mean() / picture[picture > 100].mean()
        for image, picture in zip(found, pan[::-1] if brightest_first else pan, strict=True)
    ]
    assert np.ptp(ratios) / np.mean(ratios) < 0.05
    assert max(image.max() for image in found) > 127


@pytest.mark.parametrize("overviews", [1, 3])
def test_a_first_overview_does_not_decide_the_size(tmp_path, overviews):
    pictures = [scene(9, (480, 640))] * overviews + [scene(seed) for seed in range(8)]
    frames = read_all(write(tmp_path / "pan", pictures))
    assert [isinstance(frame, Frame) for frame in frames] == [False] * overviews + [True] * 8
    assert isinstance(frames[0], BadFrame)
    assert "640x480 px where most frames are 128x96" in frames[0].detail


# Order and orientation


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["img_10.png", "img_9.png", "img_1.png"], ["img_1.png", "img_9.png", "img_10.png"]),
        (["s2 t10.png", "s10 t1.png", "s2 t9.png"], ["s2 t9.png", "s2 t10.png", "s10 t1.png"]),
        (["a100b.png", "a20b.png", "a3b.png"], ["a3b.png", "a20b.png", "a100b.png"]),
        (["img_1.png", "img_01.png", "img_2.png"], ["img_01.png", "img_1.png", "img_2.png"]),
    ],
)
def test_frames_come_in_the_order_that_people_number_them(tmp_path, names, order):
    assert [path.name for path in sorted((tmp_path / name for name in names), key=natural_key)] == order


def test_another_order_than_the_plain_one_is_told(tmp_path):
    folder = write(tmp_path / "pan", [RGB] * 12, "img_{}.png")
    (note,) = look_through(folder).notes
    assert "img_2.png comes before img_10.png" in note
    assert look_through(write(tmp_path / "plain", [RGB] * 12)).notes == ()


def with_exif(path, image, orientation):
    exif = Pillow.Exif()
    exif[274] = orientation
    Pillow.fromarray(image).save(path, quality=95, exif=exif)


def pan_of(count, turn=lambda image: image, side=(192, 192)):
    ground = scene(5, (400, 600))
    ground = cv2.add(ground, np.random.default_rng(1).integers(0, 60, ground.shape, dtype=np.uint8))
    return [turn(ground[10 * k : 10 * k + side[0], 20 * k : 20 * k + side[1]]) for k in range(count)]


@pytest.mark.parametrize("orientation", [3, 6, 2])
def test_a_note_that_changes_while_the_camera_stays_turns_nothing_and_is_named(tmp_path, orientation):
    truth = pan_of(8)
    for index, image in enumerate(truth):
        with_exif(tmp_path / f"{index}.jpg", image, 1 if index < 4 else orientation)
    folder = look_through(tmp_path)
    assert not folder.turned
    named = f"4.jpg says that the camera was held otherwise than before (EXIF orientation {orientation}"
    assert named in folder.notes[0]
    found = images(tmp_path)
    assert all(np.abs(a.astype(int) - b).mean() < 12 for a, b in zip(found, truth, strict=True))


@pytest.mark.parametrize(("orientation", "turn"), [(3, cv2.ROTATE_180), (6, cv2.ROTATE_90_COUNTERCLOCKWISE)])
@pytest.mark.parametrize("side", [(192, 192), (160, 220)])
def test_a_camera_that_was_really_turned_is_turned_back(tmp_path, orientation, turn, side):
    truth = pan_of(8, side=side)
    for index, image in enumerate(truth):
        held = index >= 4
        with_exif(tmp_path / f"{index}.jpg", cv2.rotate(image, turn) if held else image, orientation if held else 1)
    assert look_through(tmp_path).turned
    found = images(tmp_path)
    assert all(np.abs(a.astype(int) - b).mean() < 12 for a, b in zip(found, truth, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, orientation):
    from PIL import ImageOps

    with_exif(tmp_path / "a.jpg", RGB, orientation)
    picture = Pillow.open(tmp_path / "a.jpg")
    assert np.array_equal(upright_image(np.asarray(picture), orientation), np.asarray(ImageOps.exif_transpose(picture)))
    (image,) = images(tmp_path / "a.jpg")
    assert image.shape == np.asarray(ImageOps.exif_transpose(picture)).shape


# What is left out


def test_what_is_passed_over_and_looks_like_frames_is_listed(tmp_path):
    folder = write(tmp_path / "pan", [RGB] * 3)
    (folder / "IMG_1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (folder / "pan.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(99))
    (folder / "000.jpg.part").write_bytes(cv2.imencode(".jpg", RGB)[1].tobytes())
    (folder / "more").mkdir()
    write(folder / "more", [RGB] * 4)
    (folder / "notes.txt").write_text("slide 7")
    (folder / "poses.csv").write_text("frame,x_px,y_px\n")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    os.mkfifo(folder / "frame.png")
    found = {one.name: (one.reason, one.pictures) for one in look_through(folder).left_out}
    assert found == {
        "IMG_1.heic": ("kind", 1), "pan.mp4": ("video", 1), "000.jpg.part": ("name", 1), "more": ("folder", 4),
        "frame.png": ("special_file", 1),
    }  # fmt: skip


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, make):
    make(tmp_path / "frame.png")
    with pytest.raises(UsageError, match="no regular file"):
        open_source(tmp_path / "frame.png", None)


def test_a_folder_of_nothing_but_what_is_not_read_says_what_that_is(tmp_path):
    (tmp_path / "IMG_1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(SourceError, match=r"no picture among them; IMG_1\.heic is HEIC, which is not read"):
        open_source(tmp_path, None)


# The pixel size in the file


def png_with(per_metre):
    def make(path):
        Pillow.fromarray(RGB).save(path.with_suffix(".png"), dpi=(per_metre * 0.0254,) * 2)

    return make


def micro_manager(path):
    cv2.imwrite(str(path.with_suffix(".png")), RGB)
    path.with_name("metadata.txt").write_text('{"Summary": {"PixelSize_um": 0.125, "Width": 128}}')


STATES_AN_EIGHTH = {
    "OME": lambda p: tifffile.imwrite(
        p, RGB, ome=True, photometric="rgb", metadata={"PhysicalSizeX": 0.125, "PhysicalSizeXUnit": "\N{MICRO SIGN}m"}
    ),
    "OME in nm": lambda p: tifffile.imwrite(
        p, RGB, ome=True, photometric="rgb", metadata={"PhysicalSizeX": 125.0, "PhysicalSizeXUnit": "nm"}
    ),
    "ImageJ": lambda p: tifffile.imwrite(p, RGB, imagej=True, resolution=(8, 8), metadata={"unit": "um"}),
    "ImageJ in mm": lambda p: tifffile.imwrite(p, RGB, imagej=True, resolution=(8000, 8000), metadata={"unit": "mm"}),
    "resolution in cm": lambda p: tifffile.imwrite(p, RGB, resolution=(80_000, 80_000), resolutionunit="CENTIMETER"),
    "resolution in inch": lambda p: tifffile.imwrite(p, RGB, resolution=(203_200, 203_200), resolutionunit="INCH"),
    "Micro-Manager beside": micro_manager,
    "PNG pHYs": png_with(8_000_000),
}


@pytest.mark.parametrize("kind", STATES_AN_EIGHTH)
def test_the_files_pixel_size_counts_where_none_is_given(tmp_path, kind):
    STATES_AN_EIGHTH[kind](tmp_path / "a.tif")
    with closing(open_source(tmp_path, None)) as source:
        assert require_known_pixel_size(None, source) == pytest.approx(0.125, rel=1e-3)


@pytest.mark.parametrize("kind", STATES_AN_EIGHTH)
@pytest.mark.parametrize("setting", [("--pixel-size-um", UsageError), ("camera.pixel_size_um", ConfigError)])
def test_a_contradiction_is_refused_with_both_values(tmp_path, kind, setting):
    STATES_AN_EIGHTH[kind](tmp_path / "a.tif")
    with closing(open_source(tmp_path, 0.25)) as source, pytest.raises(setting[1]) as refused:
        require_known_pixel_size(0.25, source, *setting)
    assert f"{setting[0]} is 0.25 um, but the files say 0.125 um (" in str(refused.value)


@pytest.mark.parametrize("given", [0.1215, 0.125, 0.1285])
def test_what_differs_by_rounding_is_no_contradiction(tmp_path, given):
    STATES_AN_EIGHTH["OME"](tmp_path / "a.tif")
    with closing(open_source(tmp_path, given)) as source:
        assert require_known_pixel_size(given, source) == given


SAYS_NOTHING = {
    "screen": {"resolution": (96, 96), "resolutionunit": "INCH"},
    "printer": {"resolution": (600, 600), "resolutionunit": "INCH"},
    "no unit": {"resolution": (8, 8), "resolutionunit": "NONE"},
    "unset OME": {"ome": True, "metadata": {"PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "\N{MICRO SIGN}m"}},
    "ImageJ in pixels": {"imagej": True, "resolution": (8, 8), "metadata": {"unit": "pixel"}},
}


@pytest.mark.parametrize("kind", SAYS_NOTHING)
def test_what_no_microscope_says_is_no_pixel_size(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", **SAYS_NOTHING[kind])
    with closing(open_source(tmp_path, None)) as source:
        assert source.pixel_size_um is None


def test_files_that_contradict_each_other_are_refused_by_both_names(tmp_path):
    for name, per_cm in (("a.tif", 80_000), ("b.tif", 40_000)):
        tifffile.imwrite(tmp_path / name, RGB, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    with pytest.raises(SourceError, match=r"0\.125 um \(a\.tif, TIFF resolution\) and 0\.25 um \(b\.tif"):
        open_source(tmp_path, None)


def test_pixels_that_are_not_square_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB, resolution=(80_000, 40_000), resolutionunit="CENTIMETER")
    with pytest.raises(UnreadablePictureError, match=r"0\.125 um wide and 0\.25 um high"):
        open_source(tmp_path / "a.tif", None)
