# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# JSON and simple YAML to lines `path=value`: {"a": [{"b": "x\ny"}]} gives `a.0.b=x\ny`. In values, \ is \\ and a
# line feed is \n (printf %b undoes both). Flow and block collections, plain and quoted scalars, | and > are read;
# anchors, tags and merges are not.

BEGIN { SQ = sprintf("%c", 39) }
{ sub(/\r$/, ""); L[++N] = $0 }
END {
    LN = 1
    if (L[1] ~ /^---( |$)/) LN = 2
    if (skip()) block("", 0)
}

function emit(path, value) {
    gsub(/\\/, "\\\\", value)
    gsub(/\n/, "\\n", value)
    print path "=" value
}
function join(path, key) { return path == "" ? key : path "." key }
function indent(line) { match(line, /^ */); return RLENGTH }
function skip() {
    while (LN <= N && (L[LN] ~ /^ *(#.*)?$/ || L[LN] ~ /^\.\.\.$/)) LN++
    return LN <= N
}
function spaces(n) { return sprintf("%" n "s", "") }
function is_item(line) { return line ~ /^ *-( |$)/ }
# Length of `key:` with the colon at the start of text, 0 if there is none.
function key_length(text,   n) {
    if (text ~ /^"/) { match(text, /^"([^"\\]|\\.)*" *:( |$)/) }
    else if (substr(text, 1, 1) == SQ) { match(text, "^" SQ "[^" SQ "]*" SQ " *:( |$)") }
    else if (text ~ /^[\[{#&*!|>%@`]/) return 0
    else match(text, /^[^:]*(:[^ :][^:]*)*:( |$)/)
    if (RSTART != 1) return 0
    n = RLENGTH
    if (substr(text, n, 1) == " ") n--
    return n
}
function block(path, least,   n, k, text, length_, key) {
    if (!skip()) return
    n = indent(L[LN])
    if (n < least) return
    if (is_item(L[LN])) {
        k = 0
        while (skip() && indent(L[LN]) == n && is_item(L[LN])) {
            text = substr(L[LN], n + 2)
            length_ = indent(text)
            text = substr(text, length_ + 1)
            if (text == "" || text ~ /^#/) {
                LN++
                if (skip() && indent(L[LN]) > n) block(join(path, k), n + 1)
                else emit(join(path, k), "")
            } else if (is_item(text) || key_length(text)) {
                L[LN] = spaces(n + 1 + length_) text
                block(join(path, k), n + 1)
            } else value(join(path, k), text, n)
            k++
        }
        return
    }
    length_ = key_length(substr(L[LN], n + 1))
    if (!length_) { value(path, substr(L[LN], n + 1), n - 1); return }
    while (skip() && indent(L[LN]) == n && (length_ = key_length(substr(L[LN], n + 1)))) {
        text = substr(L[LN], n + 1)
        key = substr(text, 1, length_ - 1)
        sub(/ +$/, "", key)
        if (key ~ /^"/ || substr(key, 1, 1) == SQ) key = substr(key, 2, length(key) - 2)
        text = substr(text, length_ + 1)
        sub(/^ +/, "", text)
        if (text == "" || text ~ /^#/) {
            LN++
            if (skip() && (indent(L[LN]) > n || indent(L[LN]) == n && is_item(L[LN]))) block(join(path, key), n)
            else emit(join(path, key), "")
        } else value(join(path, key), text, n)
    }
}
# One value that begins with `text` on line LN, under something that is indented by n.
function value(path, text, n,   first, out) {
    first = substr(text, 1, 1)
    if (first == "|" || first == ">") { literal(path, text, n); return }
    if (first == "{" || first == "[" || first == "\"" || first == SQ) {
        open_text(text)
        flow(path)
        return
    }
    out = text
    sub(/ #.*$/, "", out)
    sub(/ +$/, "", out)
    LN++
    while (LN <= N && L[LN] !~ /^ *(#.*)?$/ && indent(L[LN]) > n) {
        text = L[LN]
        sub(/^ +/, "", text); sub(/ #.*$/, "", text); sub(/ +$/, "", text)
        out = out " " text
        LN++
    }
    emit(path, plain(out))
}
function plain(text) { return text == "~" || text == "null" ? "" : text }
function literal(path, head, n,   least, out, line, empty, folded, keep, chomp, previous) {
    folded = head ~ /^>/
    keep = head ~ /^.[0-9]*\+/
    chomp = head ~ /^.[0-9]*-/
    least = -1
    if (match(head, /[1-9]/)) least = (n < 0 ? 0 : n) + substr(head, RSTART, 1)
    LN++
    out = ""; empty = 0; previous = 0
    for (; LN <= N; LN++) {
        if (L[LN] ~ /^ *$/ && (least < 0 || length(L[LN]) <= least)) { empty++; continue }
        if (least < 0) { if (indent(L[LN]) <= n) break; least = indent(L[LN]) }
        if (indent(L[LN]) < least) break
        line = substr(L[LN], least + 1)
        if (previous && folded && !empty && line !~ /^ /) out = substr(out, 1, length(out) - 1) " "
        else if (previous && folded && empty && line !~ /^ /) empty--
        while (empty > 0) { out = out "\n"; empty-- }
        empty = 0
        out = out line "\n"
        previous = line !~ /^ /
    }
    if (chomp) sub(/\n$/, "", out)
    while (keep && empty-- > 0) out = out "\n"
    emit(path, out)
}

# Flow values are read through a small window on the line, so that a long one costs its length and not its square.
function open_text(text) { LN++; REST = text "\n"; AT = 1; slide() }
function slide() { W = substr(REST, AT, 2048); AT += 2048; P = 1; WL = length(W); MORE = AT <= length(REST) }
function peek() {
    if (P > WL - 512 && MORE) { AT = AT - WL + P - 1; slide() }
    while (P > WL && LN <= N) { REST = L[LN++] "\n"; AT = 1; slide() }
    return substr(W, P, 1)
}
# Line breaks inside quotes: one is a space, each further one is a line feed; blanks around them do not count.
function fold(   n, c, out) {
    n = 0
    for (c = peek(); c == "\n" || c == " " || c == "\t"; c = peek()) { P++; if (c == "\n") n++ }
    if (n == 1) return " "
    for (out = ""; n > 1; n--) out = out "\n"
    return out
}
function blank(   c) {
    for (;;) {
        c = peek()
        if (c == " " || c == "\n" || c == "\t") P++
        else if (c == "#") { while (peek() != "\n" && peek() != "") P++ }
        else return c
    }
}
function flow(path,   c, k, key) {
    c = blank()
    if (c == "{") {
        P++
        for (;;) {
            c = blank()
            if (c == "," ) { P++; continue }
            if (c == "}" || c == "") { P++; return }
            key = atom(":,}")
            if (blank() == ":") { P++; c = blank() } else c = ","
            if (c == "," || c == "}") emit(join(path, key), "")
            else flow(join(path, key))
        }
    }
    if (c == "[") {
        P++
        for (k = 0; ; k++) {
            c = blank()
            if (c == ",") { P++; k--; continue }
            if (c == "]" || c == "") { P++; return }
            flow(join(path, k))
        }
    }
    emit(path, c == "\"" || c == SQ ? atom("") : plain(atom(",]}")))
}
function atom(ends,   c, out, part, quote) {
    out = part = ""
    quote = c = peek()
    if (c == "\"" || c == SQ) {
        P++
        for (;;) {
            c = peek()
            if (length(part) > 1024) { out = out part; part = "" }
            if (c == "") return out part
            if (c == quote) {
                P++
                if (quote == "\"" || peek() != SQ) return out part
                P++
                part = part SQ
            } else if (c == "\n") {
                sub(/[ \t]+$/, "", part)
                part = part fold()
            } else if (c == "\\" && quote == "\"") { P++; part = part escape() }
            else part = part run(quote == SQ ? "[^" SQ "\n]+" : "[^\"\\\\\n]+")
        }
    }
    for (; c != "" && c != "\n" && !index(ends, c); c = peek()) {
        out = out c
        P++
    }
    sub(/ +$/, "", out)
    return out
}
# The longest run of such characters here (at least one character is taken).
function run(pattern,   text) {
    text = substr(W, P, 512)
    match(text, "^" pattern)
    text = substr(text, 1, RLENGTH < 1 ? 1 : RLENGTH)
    P += length(text)
    return text
}
function escape(   c, code, low) {
    c = peek()
    P++
    if (c == "n") return "\n"
    if (c == "t") return "\t"
    if (c == "r") return "\r"
    if (c == "b") return sprintf("%c", 8)
    if (c == "f") return sprintf("%c", 12)
    if (c == "e") return sprintf("%c", 27)
    if (c == "0" || c == "a" || c == "v") return ""
    if (c == "\n") { while (peek() == " ") P++; return "" }
    if (c == "x") { code = hex(substr(W, P, 2)); P += 2; return utf8(code) }
    if (c == "U") { code = hex(substr(W, P, 8)); P += 8; return utf8(code) }
    if (c == "u") {
        code = hex(substr(W, P, 4)); P += 4
        if (code >= 55296 && code < 56320 && substr(W, P, 2) == "\\u") {
            low = hex(substr(W, P + 2, 4)); P += 6
            code = 65536 + (code - 55296) * 1024 + low - 56320
        }
        return utf8(code)
    }
    return c
}
function hex(text,   i, out) {
    out = 0
    for (i = 1; i <= length(text); i++) out = out * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
    return out
}
function utf8(code) {
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return byte(192 + int(code / 64)) byte(128 + code % 64)
    if (code < 65536) return byte(224 + int(code / 4096)) byte(128 + int(code / 64) % 64) byte(128 + code % 64)
    return byte(240 + int(code / 262144)) byte(128 + int(code / 4096) % 64) byte(128 + int(code / 64) % 64) byte(128 + code % 64)
}
function byte(code) { return sprintf("%c", code) }
