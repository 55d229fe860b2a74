// The chat card: one room at a time, over /ws/chat/ROOM.

import { post } from "./api.js";
import { MessageList } from "./messages.js";
import { LiveSocket } from "./socket.js";

const $ = (id) => document.getElementById(id);
const messages = new MessageList($("log"));
let room = null;
let socket = null;
let lost = false;

export function startChat(page) {
  addEventListener("hashchange", () => enter(roomOfAddress(), page));
  $("room-form").addEventListener("submit", goToRoom);
  $("chat-form").addEventListener("submit", say);
  $("name").value = rememberedName();
  $("name").addEventListener("change", () => localStorage.setItem("name", $("name").value));
  $("copy").addEventListener("click", copyCurl);
  enter(roomOfAddress(), page);
}

function roomOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || "lobby";
  } catch {
    return location.hash.slice(1);
  }
}

// `page.onState` is told how the connection is, `page.onServer` which process serves it.
function enter(name, page) {
  socket?.close();
  room = name;
  lost = false;
  messages.empty();
  complain("");
  $("room-name").textContent = room;
  $("curl").textContent = curl();
  const changed = (state, seconds) => {
    lost ||= state === "waiting";
    if (state === "refused") messages.empty("Nobody can be in this room.");
    page.onState(state, seconds);
  };
  socket = new LiveSocket(`/ws/chat/${encodeURIComponent(room)}`, (message) => show(message, page), changed);
}

function show(message, page) {
  if (message.type === "hello") welcome(message.pid, page);
  if (message.type === "message") messages.add(message);
  if (message.type === "error") complain(message.text);
}

function welcome(pid, page) {
  messages.pid = pid;
  page.onServer(pid);
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
  const said = { name: $("name").value, text: $("text").value };
  complain("");
  try {
    if (event.target.elements.via.value === "http") await post(`/api/rooms/${encodeURIComponent(room)}/messages`, said);
    else if (!socket.send(said)) throw new Error("Not sent: there is no connection.");
    $("text").value = "";
  } catch (error) {
    complain(error.message);
  }
  $("text").focus();
}

function complain(text) {
  $("chat-error").textContent = text;
}

function rememberedName() {
  const name = localStorage.getItem("name") || `Guest ${Math.floor(Math.random() * 900) + 100}`;
  localStorage.setItem("name", name);
  return name;
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
