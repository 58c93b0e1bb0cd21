# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Splits a MIME multipart message (-v out=DIRECTORY) into the files 001, 002, … of its leaf parts, decoded.

function header_value(line,   value) {
    value = line
    sub(/^[^:]*:[ \t]*/, "", value)
    return value
}
function start() { head = 1; encoding = ""; file = ""; sink = "" }
function finish() { if (sink != "") close(sink); sink = "" }
function boundary_of(line,   value) {
    if (!match(line, /[Bb][Oo][Uu][Nn][Dd][Aa][Rr][Yy]=/)) return ""
    value = substr(line, RSTART + RLENGTH)
    if (value ~ /^"/) { sub(/^"/, "", value); sub(/".*/, "", value) }
    else sub(/[; \t].*/, "", value)
    return value
}
BEGIN { start(); depth = 0; count = 0 }
{ sub(/\r$/, "") }
{
    for (i = depth; i > 0; i--) {
        if ($0 == "--" mark[i] || $0 == "--" mark[i] "--") {
            finish()
            depth = $0 == "--" mark[i] ? i : i - 1
            start()
            if (depth < i) head = 0
            next
        }
    }
}
head && /^[ \t]/ { last = last $0; sub(/\n/, "", last); take(last); next }
head && /^$/ {
    head = 0
    if (inner != "") { mark[++depth] = inner; inner = ""; next }
    if (depth == 0) next
    file = sprintf("%s/%03d", out, ++count)
    sink = encoding == "base64" ? "base64 -d > " file : "cat > " file
    next
}
head { last = $0; take(last); next }
sink != "" { print | sink }
END { finish() }

function take(line) {
    if (tolower(line) ~ /^content-type:/) {
        if (tolower(line) ~ /^content-type:[ \t]*multipart\//) inner = boundary_of(line)
    } else if (tolower(line) ~ /^content-transfer-encoding:/) encoding = tolower(header_value(line))
}
