"""Two pymodbus units of sixteen coils each, for hil's tests: `tcp`, or `rtu TTY`.

Prints `ready PORT` when it listens and each request as pymodbus reads it. For each line on stdin
it prints the first eight coils of the unit named there. Ends with its stdin.
"""

import asyncio
import sys

from pymodbus import pymodbus_apply_logging_config
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

UNITS = (1, 7)


def unit(number):
    def block(kind):
        return [SimData(0, count=16, values=False if kind == DataType.BITS else 0, datatype=kind)]

    bits, words = DataType.BITS, DataType.REGISTERS
    return SimDevice(number, simdata=(block(bits), block(bits), block(words), block(words)))


def told(sending, pdu):
    if not sending:
        print(f"request unit {pdu.dev_id} function {pdu.function_code} coil {pdu.address} "
              f"bits {pdu.bits}", flush=True)
    return pdu


async def main():
    units = [unit(number) for number in UNITS]
    if sys.argv[1] == "tcp":
        server = ModbusTcpServer(units, address=("127.0.0.1", 0), trace_pdu=told)
        await server.serve_forever(background=True)
        port = server.transport.sockets[0].getsockname()[1]
    else:
        server = ModbusSerialServer(units, port=sys.argv[2], baudrate=9600, trace_pdu=told)
        await server.serve_forever(background=True)
        port = sys.argv[2]
    print("ready", port, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        coils = await server.async_getValues(int(line), 1, 0, 8)
        print("coils", "".join("1" if coil else "0" for coil in coils), flush=True)


pymodbus_apply_logging_config("CRITICAL")
asyncio.run(main())
