"""Gives gpiozero its pins. On a Jetson they are from a factory of our own, since none of gpiozero's works there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fnrbc_device.errors import ConfigError

CHIP_LABEL: Final = "tegra234-gpio"
"""The Orin's main GPIO controller. Chips are chosen by label: their numbers change with the kernel."""

LINES: Final = {7: 144, 15: 85, 29: 105, 31: 106, 32: 41, 33: 43}
"""Line of the chip by pin of the 40-pin header, on Orin NX and Orin Nano (Jetson.GPIO's table)."""

MODEL: Final = Path("/proc/device-tree/model")
MOST_CHIPS: Final = 16


def pin_factory(kind: str) -> Any:
    """Factory that gpiozero's devices take their pins from.

    Parameters
    ----------
    kind
        ``jetson``, or ``mock``: pins that only tests press.

    Raises
    ------
    ConfigError
        gpiozero or lgpio is not installed, or this machine has no such pins.
    """
    try:
        if kind == "mock":
            from gpiozero.pins.mock import MockFactory

            return MockFactory()
        return jetson_factory()
    except ImportError as error:
        raise ConfigError(f"panel.pins is {kind}, but {error.name} is missing; pip install 'fnrbc[gpio]'") from error


def jetson_factory() -> Any:
    """Make the factory for the header of an Orin NX or Nano.

    Raises
    ------
    ConfigError
        There is no such chip, or this user may not open it.
    """
    import lgpio
    from gpiozero.pins import BoardInfo, HeaderInfo, PinInfo
    from gpiozero.pins.lgpio import LGPIOFactory

    class JetsonFactory(LGPIOFactory):  # type: ignore[misc]  # gpiozero has no types
        """gpiozero's factory over lgpio, with the board's header in place of a Raspberry Pi's."""

        def _get_board_info(self) -> Any:
            return board

    board = _board(BoardInfo, HeaderInfo, PinInfo)
    return JetsonFactory(chip_number(lgpio))


def chip_number(lgpio: Any) -> int:
    """Number of the chip by its label.

    Raises
    ------
    ConfigError
        There is none, or this user may not open it.
    """
    refused = ""
    for number in range(MOST_CHIPS):
        try:
            chip = lgpio.gpiochip_open(number)
        except Exception as error:  # noqa: BLE001 - lgpio.error, whose class comes with lgpio
            refused = refused or str(error)
            continue
        _, _, _, label = lgpio.gpio_get_chip_info(chip)
        lgpio.gpiochip_close(chip)
        if label == CHIP_LABEL:
            return number
    raise ConfigError(
        f"none of {MOST_CHIPS} GPIO chips is labelled {CHIP_LABEL} ({refused or 'all could be opened'}); "
        "run on an Orin, as a user of the group gpio"
    )


def _board(board: Callable[..., Any], header: Callable[..., Any], pin: Callable[..., Any]) -> Any:
    pins = {
        number: pin(
            line,
            f"GPIO{line}",
            frozenset({f"GPIO{line}", f"BOARD{number}", f"J1:{number}", line, str(line)}),
            "",
            (number + 1) // 2,
            2 - number % 2,
            frozenset({"gpio"}),
        )
        for number, line in LINES.items()
    }
    model = MODEL.read_text().strip("\0\n") if MODEL.exists() else "Jetson Orin"
    return board(
        revision="",
        model=model,
        pcb_revision="",
        released="",
        soc="T234",
        manufacturer="NVIDIA",
        memory=0,
        storage="",
        usb=0,
        usb3=0,
        ethernet=0,
        eth_speed=0,
        wifi=False,
        bluetooth=False,
        csi=0,
        dsi=0,
        headers={"J1": header("J1", 20, 2, pins)},
        board="",
    )
