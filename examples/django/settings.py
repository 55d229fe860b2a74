"""A project of Django with the channel layers of Fast Channels in place of those of channels_redis."""

import os

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

SECRET_KEY = "only an example"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = ["channels"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "examples.django.urls"
ASGI_APPLICATION = "examples.django.asgi.application"
USE_TZ = True

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "fast_channels.layers.redis.RedisChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "news", "capacity": 1000},
    },
    "live": {
        "BACKEND": "fast_channels.layers.redis.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "live"},
    },
    "local": {"BACKEND": "fast_channels.layers.InMemoryChannelLayer"},
}
