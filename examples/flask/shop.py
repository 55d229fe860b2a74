"""A shop in Flask. Who looks at the live page hears of every order."""

from flask import Flask, request
from flask.typing import ResponseReturnValue

from examples.flask.layers import setup_channel_layers
from fast_channels.layers import channel_layers

setup_channel_layers()
app = Flask(__name__)


@app.post("/orders")
def order() -> ResponseReturnValue:
    item = request.get_json()["item"]
    channel_layers["default"].sync.group_send("orders", {"type": "order.placed", "item": item})
    return {"ordered": item}, 201
