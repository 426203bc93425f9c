#include <nixl_store.h>
#include <stdio.h>

int main(void)
{
    return printf("newcomer: nixl_store %s\n", nixl_store_version()) < 0;
}
