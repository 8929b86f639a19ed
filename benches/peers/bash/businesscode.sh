#!/bin/bash
# Greets whoever the event names.
NAME="${1#*\"name\":\"}"
echo "{\"message\":\"Hello, ${NAME%%\"*}!\"}"
