"""Model control over gRPC, with a server that comes and goes."""

import asyncio

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from fastserve.router.triton import GrpcTritonControl
from wiring.router.router_world import free_port


class LiveServer(service_pb2_grpc.GRPCInferenceServiceServicer):
    async def ServerLive(self, request: object, context: object) -> object:  # noqa: N802  gRPC's name
        return service_pb2.ServerLiveResponse(live=True)


async def test_a_triton_that_was_away_for_long_is_noticed_within_two_seconds() -> None:
    address = f"127.0.0.1:{free_port()}"
    control = GrpcTritonControl(address)
    loop = asyncio.get_running_loop()
    for _ in range(24):
        assert not await control.live()
        await asyncio.sleep(0.25)

    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(LiveServer(), server)
    server.add_insecure_port(address)
    await server.start()
    back = loop.time()
    while not await control.live():
        assert loop.time() - back < 2.0
        await asyncio.sleep(0.1)

    await control.close()
    await server.stop(0)
