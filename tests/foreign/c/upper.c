/* Copies stdin to stdout in upper case, and counts on stderr. Fails if an argument says so. */

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
    const char *name = getenv("NAME");
    long bytes = 0;
    int byte;

    if (name != NULL)
        printf("%s: ", name);
    while ((byte = getchar()) != EOF) {
        putchar(toupper(byte));
        bytes++;
    }
    fprintf(stderr, "%ld bytes\n", bytes);
    return count > 1 ? atoi(arguments[1]) : 0;
}
