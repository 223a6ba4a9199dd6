#!/bin/sh
# Rebuilds the PDF chapters of the sample course from their groff sources.
# Needs groff with its PDF device (Debian: apt-get install groff). The date is fixed so that a rebuild gives the same bytes.
set -eu
cd "$(dirname "$0")"
: "${SOURCE_DATE_EPOCH:=1735689600}" # 2025-01-01 00:00:00 UTC
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
for chapter in 05-sorting 09-graphs; do
    groff -k -K utf8 -t -ms -Tpdf -dpaper=a4 -P-pa4 style.ms "$chapter.ms" >"../$chapter.pdf.tmp"
    mv "../$chapter.pdf.tmp" "../$chapter.pdf"
done
