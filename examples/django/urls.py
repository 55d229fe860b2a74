"""What the project answers over HTTP."""

from django.urls import path

from examples.django.views import shout, tell

urlpatterns = [path("tell/<layer>", tell), path("shout/<layer>", shout)]
