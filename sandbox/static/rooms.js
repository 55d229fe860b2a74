// The card "Room": one room at a time, over /ws/chat/ROOM.

import { post } from "./api.js";
import { $, complain } from "./dom.js";
import { myName, startName } from "./me.js";
import { Members } from "./members.js";
import { MessageList } from "./messages.js";
import { LiveSocket } from "./socket.js";

const messages = new MessageList($("log"));
const members = new Members($("members"), (text) => messages.note(text));
let room = null;
let socket = null;
let lost = false;

export function startRooms() {
  startName(() => socket.send({ type: "enter", name: myName() }));
  addEventListener("hashchange", () => enter(roomOfAddress()));
  $("room-form").addEventListener("submit", goToRoom);
  $("chat-form").addEventListener("submit", say);
  $("copy").addEventListener("click", copyCurl);
  enter(roomOfAddress());
}

function roomOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || "lobby";
  } catch {
    return location.hash.slice(1);
  }
}

function enter(name) {
  socket?.close();
  room = name;
  lost = false;
  messages.empty();
  members.empty();
  complain("chat-error");
  $("room-name").textContent = room;
  $("curl").textContent = curl();
  socket = new LiveSocket(`/ws/chat/${encodeURIComponent(room)}`, { onMessage, onState, card: $("rooms-card") });
}

function onState(state) {
  lost ||= state === "waiting";
  if (state === "waiting") members.freeze();
  if (state === "refused") messages.empty("Nobody can be in this room.");
}

function onMessage(message) {
  if (message.type === "hello") welcome(message);
  if (message.type === "message") messages.add(message);
  if (message.type === "roster") members.take(message);
  if (message.type === "error") complain("chat-error", message.text);
}

function welcome(hello) {
  members.connect(hello.id);
  socket.send({ type: "enter", name: myName() });
  if (lost) messages.note("Connected again. What was said in the meantime is not shown.");
  lost = false;
}

function goToRoom(event) {
  event.preventDefault();
  const name = $("room").value.trim();
  if (!name) return;
  location.hash = encodeURIComponent(name); // so that the way back, and a copied address, lead to the room
  $("room").value = "";
  $("text").focus();
}

async function say(event) {
  event.preventDefault();
  const said = { name: myName(), text: $("text").value };
  complain("chat-error");
  try {
    if (event.target.elements.via.value === "http") await post(`/api/rooms/${encodeURIComponent(room)}/messages`, said);
    else if (!socket.send(said)) throw new Error("Not sent: there is no connection.");
    $("text").value = "";
  } catch (error) {
    complain("chat-error", error.message);
  }
  $("text").focus();
}

function curl() {
  return [
    `curl ${location.origin}/api/rooms/${encodeURIComponent(room)}/messages`,
    `-H 'content-type: application/json'`,
    `-d '{"name": "Terminal", "text": "Hello"}'`,
  ].join(" \\\n  ");
}

async function copyCurl() {
  await navigator.clipboard.writeText($("curl").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
}
