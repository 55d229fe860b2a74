"""What the project answers over HTTP."""

from django.urls import path

from examples.django.views import tell

urlpatterns = [path("tell/<layer>", tell)]
